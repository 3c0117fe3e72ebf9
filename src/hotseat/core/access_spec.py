"""Keys, limits and route policies, as frozen values that are already valid.

Secrets are held as SHA-256 digests only, so nothing here can print one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

Progress = Literal["text", "reasoning"]
"""Where a client shows the progress of a start: in the answer's text, or among its reasoning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSpec:
    """A rate limit, or a limit of concurrent requests."""

    amount: int
    per_s: float
    """Window in seconds; 0 for ``concurrent``, which has none."""
    what: Literal["requests", "tokens", "concurrent"] = "requests"
    per: Literal["client", "key", "total"] = "key"
    """Counted by client address, by key (requests without a key: by address), or in total."""
    burst: int | None = None
    """Requests that may arrive at once; ``None``: ``amount``."""
    scope: str = ""
    """What it applies to, for counters and messages: ``key alice``, ``model chat``, ``route site``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpec:
    """A named key. ``digest`` is the SHA-256 of the secret."""

    name: str
    digest: bytes = field(repr=False)
    routes: frozenset[str] | None = None
    """Names of the routes that the key may use; ``None``: all."""
    admin: bool = False
    """Whether the key may use the admin API."""
    limits: tuple[LimitSpec, ...] = ()
    expires_at: float | None = None
    """Expiry in seconds since 1970; ``None``: never."""
    origins: tuple[str, ...] | None = None
    """Origins of a publishable key, which works only in browsers there; ``None``: no restriction."""
    priority: int = 0
    """Added to the route's."""
    progress: Progress | None = None
    """As ``PolicySpec.progress``, for all routes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicSpec:
    """HTTP Basic authentication in front of all routes."""

    user: bytes = field(repr=False)
    """Digest of the user name."""
    password: bytes | None = field(default=None, repr=False)
    """Digest of the password; ``None``: the password is any configured key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSpec:
    """Requirements on clients' authentication: keys, second factors and trusted proxies."""

    keys: tuple[KeySpec, ...] = ()
    required: bool = True
    """``False``: authentication is switched off explicitly (``auth: off``, ``REQUIRE_AUTH=false``)."""
    api_secret: bytes | None = field(default=None, repr=False)
    """Digest of a second factor, expected in ``X-API-Secret``."""
    basic: BasicSpec | None = None
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose ``X-Forwarded-For`` is trusted."""
    cloudflare_proxies: tuple[str, ...] = ()
    """Those of them that set ``CF-Connecting-IP``."""

    @property
    def configured(self) -> bool:
        """Whether any credential is configured."""
        return bool(self.keys) or self.api_secret is not None or self.basic is not None

    @property
    def enforced(self) -> bool:
        """Whether clients must authenticate. Otherwise everything is open."""
        return self.required and self.configured


class AdminRole(IntEnum):
    """Role of a client of hotseat's own endpoints; ``admin_role`` in the ASGI scope's ``state``."""

    ANONYMOUS = 0
    """No key, or a public one: whether hotseat is up."""
    READER = 1
    """A key of models: also the routes and their states."""
    ADMIN = 2
    """An admin key: everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSpec:
    """The system prompt of a route."""

    text: str
    mode: Literal["replace", "prepend"] = "replace"
    """``replace`` removes the client's own system and developer messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """Policy of a route: what is changed in its requests, and what is refused."""

    auth: bool = True
    """``False``: this route needs no key."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """JSON values for fields that the client left out."""
    clamp: Mapping[str, float] = field(default_factory=dict)
    """Upper bounds by field."""
    drop: tuple[str, ...] = ()
    """Fields that are removed."""
    allow_fields: tuple[str, ...] = ()
    """Fields that pass beside the known ones where a prompt or a bound is imposed."""
    prompt: PromptSpec | None = None
    cors: tuple[str, ...] = ()
    """Origins that browsers may call from; ``*``: any."""
    limits: tuple[LimitSpec, ...] = ()
    max_hold_s: float | None = None
    """Seconds after which a queued request that does not stream is answered 503 with Retry-After."""
    progress: Progress | None = None
    """Where a start's progress is shown in the answer itself; ``None``: in comments alone."""
    may_evict: bool = True
    """Whether another model may be evicted for its requests."""
    comment_every_s: float | None = None
    """Seconds between two comments in a silent stream; 0: none; ``None``: as for all routes."""
    model_name: str | None = None
    """Model name sent to the server instead of its own (``CHAT_MODEL``)."""
    access_log: bool = True
    """Whether its requests are in the access log."""

    @property
    def rewrites(self) -> bool:
        """Whether request bodies may have to be changed."""
        return bool(self.defaults or self.clamp or self.drop or self.prompt)
