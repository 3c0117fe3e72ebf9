"""Who is asking: credentials in a request's header, and what they open.

A key is looked up by its SHA-256 digest, so nothing that is compared can be approached byte by byte,
and what is found is compared once more in constant time. Nothing of a credential is kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping

from hotseat.core.access_spec import AuthSpec, BasicSpec, KeySpec
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.policy.rate_limit import Limit, Limiter
from hotseat.gateway.routing import Route

Picked = Mapping[bytes, bytes]
"""Header fields by name (lower case)."""


class Principal:
    """One who asks: the owner of a key, or a stranger with the reason why he is one."""

    __slots__ = (
        "admin",
        "digest",
        "expires_at",
        "limits",
        "name",
        "origins",
        "priority",
        "problem",
        "routes",
    )

    def __init__(
        self, spec: KeySpec, limits: tuple[Limit, ...] = (), problem: ErrorResponse | None = None
    ) -> None:
        self.name = spec.name
        """Of the key; empty for a stranger."""
        self.digest = spec.digest
        self.admin = spec.admin
        self.routes = spec.routes
        self.limits = limits
        self.expires_at = spec.expires_at
        self.origins = None if spec.origins is None else frozenset(o.encode() for o in spec.origins)
        self.priority = spec.priority
        self.problem = problem
        """What a stranger is told where a key is wanted."""

    def sees(self, route: Route) -> bool:
        """Whether the route is open to this caller."""
        if not route.guarded:
            return True
        return self.problem is None and (self.routes is None or route.name in self.routes)


class Authenticator:
    """All keys of one configuration."""

    def __init__(self, auth: AuthSpec, limiter: Limiter, wall_clock: Callable[[], float]) -> None:
        """``wall_clock()`` is the time of day, in seconds since 1970."""
        self._wall_clock = wall_clock
        self._callers = {key.digest: Principal(key, limiter.limits(key.limits)) for key in auth.keys}
        self._secret = auth.api_secret
        self._basic = auth.basic
        self.enforced = auth.enforced
        self._has_admin = any(key.admin for key in auth.keys)
        challenge = b'Basic realm="hotseat"' if auth.basic else b'Bearer realm="hotseat"'
        self._challenge = ((b"www-authenticate", challenge),)
        hint = _HINT_BASIC if auth.basic else _HINT
        self._no_key = self._stranger("missing_api_key", f"no API key was sent: {hint}")
        self._wrong_key = self._stranger("invalid_api_key", f"this API key is not known here: {hint}")
        self._no_secret = self._stranger(
            "missing_api_secret", "X-API-Secret is missing or wrong: it is wanted besides the API key"
        )
        self._no_basic = self._stranger(
            "missing_basic_auth",
            "HTTP Basic is wanted here: user and password in Authorization, the API key in x-api-key"
            if auth.keys
            else "HTTP Basic is wanted here: user and password in Authorization",
        )
        self._anybody = Principal(KeySpec(name="", digest=b"", admin=not auth.configured))
        # Where there is no key, a second factor alone shows the owner.
        self._known = self._anybody if auth.keys else Principal(KeySpec(name="", digest=b"", admin=True))
        self._wanted = self._no_key
        if not auth.keys:
            self._wanted = self._no_basic if auth.basic is not None else self._no_secret

    def limits(self) -> list[Limit]:
        """The limits of all keys."""
        return [limit for caller in self._callers.values() for limit in caller.limits]

    def who(self, picked: Picked) -> Principal:
        """The one who sent this header. Never raises; a stranger says why he is one."""
        caller = self._by_key(picked) if self._callers else self._anybody
        if self._basic is not None or self._secret is not None:
            caller = self._second_factor(picked, caller if self._callers else self._known)
        if caller.problem is not None and not self.enforced:
            return self._anybody
        return caller

    def admit(self, caller: Principal, route: Route, origin: bytes | None) -> None:
        """Raise ``RequestRefused`` (401, 403) where this caller may not use the route."""
        if not route.guarded:
            return
        self.admit_known(caller, origin)
        if caller.routes is not None and route.name not in caller.routes:
            raise _forbidden(f"the key {caller.name!r} does not open {route.name!r}", "model_not_allowed")

    def admit_known(self, caller: Principal, origin: bytes | None) -> None:
        """Raise ``RequestRefused`` (401, 403) for a stranger, and for a web page's key elsewhere."""
        if caller.problem is not None:
            raise RequestRefused(caller.problem)
        if caller.origins is not None and origin not in caller.origins:
            raise _forbidden(
                f"the key {caller.name!r} is good on its own web pages only (Origin)", "origin_not_allowed"
            )

    def admit_admin(self, caller: Principal, origin: bytes | None) -> None:
        """Raise ``RequestRefused`` (401, 403) for one who may not use the admin API."""
        self.admit_known(caller, origin)
        if caller.admin:
            return
        if caller is self._anybody:  # no key is wanted for models, but one is for this
            self.admit_known(self._wanted, origin)
        why = "" if self._has_admin else "; none does: set ADMIN_API_KEY"
        raise _forbidden(f"the key {caller.name!r} does not open the admin API{why}", "admin_key_required")

    # which key

    def _by_key(self, picked: Picked) -> Principal:
        """By the first of the sent keys that is known."""
        sent = picked.get(b"authorization")
        found = self._no_key
        if sent is not None:
            scheme = sent[:7].lower()
            if scheme == b"bearer ":
                found = self._find(sent[7:].strip())
            elif scheme[:6] == b"basic " and self._basic is not None and self._basic.password is None:
                found = self._find(_user_and_password(sent)[1])
            if found.problem is None:
                return found
        key = picked.get(b"x-api-key")
        return found if key is None else self._find(key)

    def _find(self, key: bytes) -> Principal:
        digest = hashlib.sha256(key).digest()
        caller = self._callers.get(digest)
        if caller is None or not hmac.compare_digest(caller.digest, digest):
            return self._wrong_key
        if caller.expires_at is not None and self._wall_clock() >= caller.expires_at:
            return self._stranger("expired_api_key", f"the key {caller.name!r} has expired")
        return caller

    def _second_factor(self, picked: Picked, caller: Principal) -> Principal:
        basic = self._basic
        if basic is not None and not _is_basic(basic, picked.get(b"authorization", b"")):
            return self._no_basic
        if self._secret is not None and not _same(self._secret, picked.get(b"x-api-secret", b"")):
            return self._no_secret
        return caller

    def _stranger(self, code: str, message: str) -> Principal:
        problem = ErrorResponse(
            status=401,
            code=code,
            type="authentication_error",
            message=message,
            should_retry=False,
            headers=self._challenge,
        )
        return Principal(KeySpec(name="", digest=b"", routes=frozenset()), problem=problem)


def _is_basic(basic: BasicSpec, sent: bytes) -> bool:
    if sent[:6].lower() != b"basic ":
        return False
    user, password = _user_and_password(sent)
    # Both are always compared, so that the time does not tell which of them is right.
    is_user = _same(basic.user, user)
    return (basic.password is None or _same(basic.password, password)) and is_user


def _user_and_password(sent: bytes) -> tuple[bytes, bytes]:
    try:
        user, _, password = base64.b64decode(sent[6:].strip(), validate=True).partition(b":")
    except binascii.Error:
        return b"", b""
    return user, password


def _same(digest: bytes, secret: bytes) -> bool:
    return hmac.compare_digest(digest, hashlib.sha256(secret).digest())


def _forbidden(message: str, code: str) -> RequestRefused:
    return RequestRefused(
        ErrorResponse(status=403, code=code, type="permission_error", message=message, should_retry=False)
    )


_HINT = "send it as Authorization: Bearer KEY, or as x-api-key"
_HINT_BASIC = "send it in x-api-key, or as the password of HTTP Basic"
