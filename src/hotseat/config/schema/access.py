"""The front door's part of the file: keys, and what a route does to its requests."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from hotseat.config.parsers import access
from hotseat.config.schema.types import Bool, PositiveDuration
from hotseat.config_fields import ConfigModel, Int, Names, schema
from hotseat.core.access_spec import LimitSpec

_RATE = {"type": "string", "title": "rate", "examples": ["30/minute", "1000/day"]}
_COUNT = {"type": "integer", "minimum": 1}
_LIMIT = {
    "type": "object",
    "properties": {
        "rate": _RATE,
        "tokens": _RATE,
        "concurrent": _COUNT,
        "per": {"enum": ["client", "key", "total"]},
        "burst": _COUNT,
    },
    "additionalProperties": False,
}
RateLimits = Annotated[
    tuple[LimitSpec, ...],
    PlainValidator(access.rate_limits),
    WithJsonSchema(
        {
            "title": "limit or list of limits",
            "anyOf": [_RATE, _LIMIT, {"type": "array", "items": {"anyOf": [_RATE, _LIMIT]}}],
        }
    ),
]


def _listed(title: str, *examples: str) -> WithJsonSchema:
    text = {"type": "string", "examples": list(examples)}
    return WithJsonSchema({"title": title, "anyOf": [text, {"type": "array", "items": text}]})


Origins = Annotated[
    tuple[str, ...],
    PlainValidator(access.origins),
    _listed("origin or list of origins", "https://example.org"),
]
PageOrigins = Annotated[
    tuple[str, ...],
    PlainValidator(access.page_origins),
    _listed("origin or list of origins", "https://example.org"),
]
Networks = Annotated[
    tuple[str, ...],
    PlainValidator(access.networks),
    _listed("address, network or a list of such", "127.0.0.1", "172.16.0.0/12"),
]
Moment = Annotated[float, PlainValidator(access.moment), schema("string", "day or moment")]
Digest = Annotated[bytes, PlainValidator(access.digest), schema("string", "SHA-256 in hexadecimal")]
Secret = Annotated[str, PlainValidator(access.secret), schema("string", "key")]
Fields = Annotated[dict[str, Any], PlainValidator(access.fields), schema("object", "fields and their values")]
FieldNames = Annotated[
    tuple[str, ...],
    PlainValidator(access.field_names),
    _listed("field or list of fields", "logit_bias"),
]
Bounds = Annotated[
    dict[str, float],
    PlainValidator(access.bounds),
    schema("object", "fields and numbers", additionalProperties={"type": "number"}),
]

RATE_LIMIT = (
    "`30/minute`, or `{rate: 30/minute, per: client, burst: 5}`, `{tokens: 20000/minute}`, "
    "`{concurrent: 4}`, or a list of such. `per` is `key` (each key; requests without one by their "
    "address), `client` (each address) or `total`. More gets 429 with `Retry-After`."
)


class SystemPromptConfig(ConfigModel):
    """The system prompt that requests get."""

    text: str | None = Field(default=None, description="The prompt.")
    file: str | None = Field(
        default=None, description="A text file with the prompt, read with the configuration."
    )
    mode: Literal["replace", "prepend"] = Field(
        default="replace",
        description="`replace` takes the client's system and developer messages out, `prepend` keeps them "
        "behind ours.",
    )


def _prompt_sugar(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


SystemPromptOrText = Annotated[
    SystemPromptConfig, BeforeValidator(_prompt_sugar, json_schema_input_type=str | SystemPromptConfig)
]


class PolicyConfig(ConfigModel):
    """What a route does to the requests that take it."""

    auth: Bool | None = Field(
        default=None, description="`off`: nobody needs a key here, whatever keys there are."
    )
    rate_limit: RateLimits | None = Field(default=None, description=RATE_LIMIT)
    defaults: Fields | None = Field(
        default=None,
        description="Fields that a request gets where it leaves them out: `{max_tokens: 256, "
        "temperature: 0.7}`.",
    )
    clamp: Bounds | None = Field(
        default=None,
        description="The most that a request may ask, by field: `{max_tokens: 512, n: 1}`. Other spellings "
        "of a field count too; one that says nothing of `max_tokens` gets the bound.",
    )
    drop: FieldNames | None = Field(default=None, description="Fields that are taken out of requests.")
    system_prompt: SystemPromptOrText | None = Field(
        default=None,
        description="The system prompt of all requests: text, or `{text | file, mode}`. Paths where it could "
        "be passed by are not served.",
    )
    cors: Origins | None = Field(
        default=None,
        description="Web origins whose pages may ask from a browser: `[https://example.org]`.",
    )
    max_hold: PositiveDuration | None = Field(
        default=None,
        description="A request that cannot stream gets 503 with `Retry-After` when its answer has not begun "
        "after so long. Tunnels cut silent requests: Cloudflare after 100 seconds.",
    )
    access_log: Bool | None = Field(
        default=None, description="Whether its requests are in the access log; by default as at the top."
    )


class KeyConfig(ConfigModel):
    """A client's key: its secret in one of three ways, and what it opens."""

    key: Secret | None = Field(default=None, description="The key itself, as `${VARIABLE}`.")
    key_file: str | None = Field(
        default=None, description="A file that holds the key (a Docker secret, for one)."
    )
    sha256: Digest | None = Field(default=None, description="The key's SHA-256 hash, in hexadecimal.")
    models: Names | None = Field(
        default=None,
        description="Routes that it opens; the name of a model means all its routes. By default all; "
        "`[]`: none.",
    )
    rate_limit: RateLimits | None = Field(default=None, description=RATE_LIMIT)
    expires: Moment | None = Field(
        default=None, description="The last day it is good (UTC), or a moment: `2027-01-31T12:00:00Z`."
    )
    admin: Bool = Field(
        default=False,
        description="Opens the admin API, `/stats`, `/routes`, `/events`, `/metrics` and `/logs`.",
    )
    origins: PageOrigins | None = Field(
        default=None,
        description="A key that may be published: good only from pages of these web origins. (A program can "
        "pretend to be a page: give it limits too.)",
    )
    priority: Int = Field(default=0, description="Added to the route's: higher ones go first.")


class BasicAuthConfig(ConfigModel):
    """HTTP Basic, wanted before anything is passed on."""

    user: Secret | None = Field(default=None, description="The user's name.")
    password: Secret | None = Field(
        default=None,
        description="The password, as `${VARIABLE}`; then the key comes in `x-api-key`. Left out: the "
        "password is any configured key.",
    )


class TlsConfig(ConfigModel):
    """HTTPS by hotseat itself."""

    cert: str | None = Field(default=None, description="The certificate and its chain, a PEM file.")
    key: str | None = Field(default=None, description="Its private key, a PEM file.")
