"""Authentication of clients: ``keys:`` and ``basic:``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from hotseat.config.parsers import network, secrets, times
from hotseat.config.schema.policy import ORIGINS_SCHEMA
from hotseat.config.schema.rate_limits import RateLimited
from hotseat.config.schema.types import Bool, Secret
from hotseat.config_fields import ConfigModel, Int, Names, schema

PageOrigins = Annotated[tuple[str, ...], PlainValidator(network.page_origins), ORIGINS_SCHEMA]
Moment = Annotated[float, PlainValidator(times.moment), schema("string", "date, or date and time")]
Digest = Annotated[bytes, PlainValidator(secrets.digest), schema("string", "SHA-256 in hexadecimal")]


class KeyConfig(RateLimited):
    """A client's key: its secret in one of three forms, and what it gives access to."""

    key: Secret | None = Field(default=None, description="The key itself, as `${VARIABLE}`.")
    key_file: str | None = Field(
        default=None, description="A file that contains the key, such as a Docker secret."
    )
    sha256: Digest | None = Field(default=None, description="The key's SHA-256 hash, in hexadecimal.")
    models: Names | None = Field(
        default=None,
        description="Routes that the key may use; a model's name stands for all its routes. By default all; "
        "`[]`: none.",
    )
    expires: Moment | None = Field(
        default=None,
        description="The last day on which the key is valid (UTC), or a date and time: "
        "`2027-01-31T12:00:00Z`.",
    )
    admin: Bool = Field(
        default=False,
        description="Gives access to the admin API, `/stats`, `/routes`, `/events`, `/metrics` and `/logs`.",
    )
    origins: PageOrigins | None = Field(
        default=None,
        description="Makes the key safe to publish in web pages: it is valid only for requests from pages of "
        "these origins. Programs can fake an origin, so set `rate_limit` as well.",
    )
    progress: Literal["text", "reasoning", "off"] | None = Field(
        default=None, description="As on a route, for this key's requests. A route's own setting comes first."
    )
    priority: Int = Field(
        default=0, description="Added to the route's priority: requests with a higher one go first."
    )


class BasicAuthConfig(ConfigModel):
    """HTTP Basic authentication, required for every request."""

    user: Secret | None = Field(default=None, description="The user's name.")
    password: Secret | None = Field(
        default=None,
        description="The password, as `${VARIABLE}`; clients then send their key in `x-api-key`. By default "
        "any configured key is accepted as the password.",
    )
