"""``rate_limit:``, on routes, models and keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator

from hotseat.config.parsers.rate_limits import rate_limits
from hotseat.config.schema.types import COUNT
from hotseat.config_fields import ConfigModel, one_or_list
from hotseat.core.access_spec import LimitSpec

_RATE = {"type": "string", "title": "rate", "examples": ["30/minute", "1000/day"]}
_LIMIT = {
    "type": "object",
    "properties": {
        "rate": _RATE,
        "tokens": _RATE,
        "concurrent": COUNT,
        "per": {"enum": ["client", "key", "total"]},
        "burst": COUNT,
    },
    "additionalProperties": False,
}
RateLimits = Annotated[
    tuple[LimitSpec, ...],
    PlainValidator(rate_limits),
    one_or_list("limit or list of limits", {"anyOf": [_RATE, _LIMIT]}),
]


class RateLimited(ConfigModel):
    """A mapping that may have ``rate_limit``."""

    rate_limit: RateLimits | None = Field(
        default=None,
        description="`30/minute`, `{rate: 30/minute, per: client, burst: 5}`, `{tokens: 20000/minute}`, "
        "`{concurrent: 4}`, or a list of these. `per` says what is counted separately: `key` (each key; "
        "requests without a key by client address), `client` (each client address) or `total` (all "
        "together). Requests over the limit get 429 with `Retry-After`.",
    )
