"""Who may ask what: keys, limits and a route's policy, as frozen values that are already valid.

Secrets are held as SHA-256 digests only; nothing here can print one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSpec:
    """At most so much in so long."""

    amount: int
    per_s: float
    """The window in seconds; for ``concurrent`` it has no meaning and is 0."""
    what: Literal["requests", "tokens", "concurrent"] = "requests"
    per: Literal["client", "key", "total"] = "key"
    """Counted for each client address, for each key, or all together."""
    burst: int | None = None
    """Requests that may come at once; ``None``: the whole amount."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpec:
    """A named key. ``digest`` is the SHA-256 of the secret."""

    name: str
    digest: bytes = field(repr=False)
    models: frozenset[str] | None = None
    """Routes and models that it opens; ``None``: all."""
    admin: bool = False
    """Opens the admin API (and, with ``models`` empty, nothing else)."""
    limits: tuple[LimitSpec, ...] = ()
    expires_at: float | None = None
    """Seconds since 1970."""
    origins: tuple[str, ...] | None = None
    """A publishable key: good only in a browser on these origins."""
    priority: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSpec:
    """How clients prove who they are. Without keys everything is open (on loopback only)."""

    keys: tuple[KeySpec, ...] = ()
    required: bool = True
    """``False``: the explicit opt-out (``auth: off``, ``REQUIRE_AUTH=false``)."""
    api_secret: bytes | None = field(default=None, repr=False)
    """Digest of a second factor, wanted in ``X-API-Secret`` on every request."""
    basic: tuple[bytes, bytes | None] | None = field(default=None, repr=False)
    """Digests of user and password for HTTP Basic; password ``None``: any configured key."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose ``X-Forwarded-For`` and ``CF-Connecting-IP`` are believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSpec:
    """The system prompt that requests of a route get."""

    text: str
    mode: Literal["replace", "prepend"] = "replace"
    """``replace`` removes the client's own system and developer messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """What a route does to the requests that take it."""

    auth: bool = True
    """``False``: this route is open, whatever keys there are."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """JSON values for what the client left out, by field."""
    clamp: Mapping[str, float] = field(default_factory=dict)
    """Upper bounds of what the client may ask, by field."""
    drop: tuple[str, ...] = ()
    """Fields that are removed."""
    prompt: PromptSpec | None = None
    cors: tuple[str, ...] = ()
    """Origins that a browser may ask from."""
    limits: tuple[LimitSpec, ...] = ()
    priority: int | None = None
    max_hold_s: float | None = None
    """A request that cannot stream is answered 503 with Retry-After after so long."""
    model_name: str | None = None
    """The model name sent to the server instead of its own (``CHAT_MODEL``)."""

    @property
    def rewrites(self) -> bool:
        """Whether the body may have to change."""
        return bool(self.defaults or self.clamp or self.drop or self.prompt)
