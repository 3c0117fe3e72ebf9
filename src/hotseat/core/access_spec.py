"""Who may ask what: keys, limits and a route's policy, as frozen values that are already valid.

Secrets are held as SHA-256 digests only; nothing here can print one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSpec:
    """At most so much in so long."""

    amount: int
    per_s: float
    """The window in seconds; for ``concurrent`` it has no meaning and is 0."""
    what: Literal["requests", "tokens", "concurrent"] = "requests"
    per: Literal["client", "key", "total"] = "key"
    """Counted for each client address, for each key (requests without one: for each address), or all
    together.
    """
    burst: int | None = None
    """Requests that may come at once; ``None``: the whole amount."""
    scope: str = ""
    """What it stands on, for counters and messages: ``key alice``, ``model chat``, ``route site``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpec:
    """A named key. ``digest`` is the SHA-256 of the secret."""

    name: str
    digest: bytes = field(repr=False)
    routes: frozenset[str] | None = None
    """Names of the routes that it opens; ``None``: all."""
    admin: bool = False
    """Opens the admin API."""
    limits: tuple[LimitSpec, ...] = ()
    expires_at: float | None = None
    """Seconds since 1970."""
    origins: tuple[str, ...] | None = None
    """A publishable key: good only in a browser on these origins."""
    priority: int = 0
    """Added to the route's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicSpec:
    """HTTP Basic before anything is passed on."""

    user: bytes = field(repr=False)
    """Digest of the user's name."""
    password: bytes | None = field(default=None, repr=False)
    """Digest of the password; ``None``: the password is any configured key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSpec:
    """How clients prove who they are."""

    keys: tuple[KeySpec, ...] = ()
    required: bool = True
    """``False``: the explicit opt-out (``auth: off``, ``REQUIRE_AUTH=false``)."""
    api_secret: bytes | None = field(default=None, repr=False)
    """Digest of a second factor, wanted in ``X-API-Secret``."""
    basic: BasicSpec | None = None
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose ``X-Forwarded-For`` and ``CF-Connecting-IP`` are believed."""

    @property
    def configured(self) -> bool:
        """Whether there is anything that a client could prove itself by."""
        return bool(self.keys) or self.api_secret is not None or self.basic is not None

    @property
    def enforced(self) -> bool:
        """Whether clients must prove who they are. Otherwise everything is open."""
        return self.required and self.configured


class AdminRole(IntEnum):
    """What a client of hotseat's own endpoints may see; ``admin_role`` in the ASGI scope's ``state``."""

    ANONYMOUS = 0
    """No key, or a public one: whether hotseat is up."""
    READER = 1
    """A key of models: also the routes and their states."""
    ADMIN = 2
    """An admin key: everything."""


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
    """Origins that a browser may ask from; ``*``: any."""
    limits: tuple[LimitSpec, ...] = ()
    max_hold_s: float | None = None
    """A request that cannot stream is answered 503 with Retry-After after so long."""
    model_name: str | None = None
    """The model name sent to the server instead of its own (``CHAT_MODEL``)."""
    access_log: bool = True
    """Whether its requests are in the access log."""

    @property
    def rewrites(self) -> bool:
        """Whether the body may have to change."""
        return bool(self.defaults or self.clamp or self.drop or self.prompt)
