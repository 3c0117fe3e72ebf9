"""Authentication and authorization: whose credentials a request's header holds, and what they open.

A key is looked up by its SHA-256 digest, so timing reveals nothing of a key, and what is found is compared
once more in constant time. No credential is kept.
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

HeaderFields = Mapping[bytes, bytes]
"""Header fields by name (lower case)."""


class Principal:
    """The sender of a request: the owner of a key, or an anonymous client with the reason why it is one."""

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
        """Of the key; empty for an anonymous client."""
        self.digest = spec.digest
        self.admin = spec.admin
        self.routes = spec.routes
        self.limits = limits
        self.expires_at = spec.expires_at
        self.origins = None if spec.origins is None else frozenset(o.encode() for o in spec.origins)
        self.priority = spec.priority
        self.problem = problem
        """The refusal where a key is required; ``None``: the client is authenticated."""

    def may_use(self, route: Route) -> bool:
        """Whether the route is open to this client."""
        if not route.guarded:
            return True
        return self.problem is None and (self.routes is None or route.name in self.routes)


class Authenticator:
    """The keys of one configuration, and the second factors besides them."""

    def __init__(self, auth: AuthSpec, limiter: Limiter, wall_clock: Callable[[], float]) -> None:
        """``wall_clock()`` is the time of day, in seconds since 1970."""
        self._wall_clock = wall_clock
        self._by_digest = {key.digest: Principal(key, limiter.limits(key.limits)) for key in auth.keys}
        self._secret = auth.api_secret
        self._basic = auth.basic
        self.enforced = auth.enforced
        self._has_admin = any(key.admin for key in auth.keys)
        challenge = b'Basic realm="hotseat"' if auth.basic else b'Bearer realm="hotseat"'
        self._challenge = ((b"www-authenticate", challenge),)
        hint = _HINT_BASIC if auth.basic else _HINT
        self._no_key = self._anonymous("missing_api_key", f"no API key was sent: {hint}")
        self._wrong_key = self._anonymous("invalid_api_key", f"this API key is not valid: {hint}")
        self._no_secret = self._anonymous(
            "missing_api_secret", "X-API-Secret is missing or wrong: it is required besides the API key"
        )
        self._no_basic = self._anonymous(
            "missing_basic_auth",
            "HTTP Basic is required: send user and password in Authorization, the API key in x-api-key"
            if auth.keys
            else "HTTP Basic is required: send user and password in Authorization",
        )
        self._open = Principal(KeySpec(name="", digest=b"", admin=not auth.configured))
        # Where there are no keys, whoever has the second factor is the owner.
        self._without_key = self._open if auth.keys else Principal(KeySpec(name="", digest=b"", admin=True))
        self._missing = self._no_key
        if not auth.keys:
            self._missing = self._no_basic if auth.basic is not None else self._no_secret

    def limits(self) -> list[Limit]:
        """The limits of all keys."""
        return [limit for principal in self._by_digest.values() for limit in principal.limits]

    def authenticate(self, fields: HeaderFields) -> Principal:
        """The principal of a header. Never raises: an anonymous one holds its refusal (``problem``)."""
        principal = self._authenticate_key(fields) if self._by_digest else self._open
        if self._basic is not None or self._secret is not None:
            principal = self._check_second_factor(fields, principal if self._by_digest else self._without_key)
        if principal.problem is not None and not self.enforced:
            return self._open
        return principal

    def authorize(self, principal: Principal, route: Route, origin: bytes | None) -> None:
        """Raise ``RequestRefused`` (401, 403) where this client may not use the route."""
        if not route.guarded:
            return
        self.require_authenticated(principal, origin)
        if principal.routes is not None and route.name not in principal.routes:
            raise _forbidden(f"the key {principal.name!r} may not use {route.name!r}", "model_not_allowed")

    def require_authenticated(self, principal: Principal, origin: bytes | None) -> None:
        """Raise ``RequestRefused``: 401 for an anonymous client, 403 for a web page's key on another page."""
        if principal.problem is not None:
            raise RequestRefused(principal.problem)
        if principal.origins is not None and origin not in principal.origins:
            raise _forbidden(
                f"the key {principal.name!r} is valid on its own web pages only",
                "origin_not_allowed",
            )

    def require_admin(self, principal: Principal, origin: bytes | None) -> None:
        """Raise ``RequestRefused`` (401, 403) for a client that may not use the admin API."""
        self.require_authenticated(principal, origin)
        if principal.admin:
            return
        if principal is self._open:  # models need no key, the admin API does
            self.require_authenticated(self._missing, origin)
        why = "" if self._has_admin else ", and there is none: set ADMIN_API_KEY"
        raise _forbidden(f"the key {principal.name!r} is not an admin key{why}", "admin_key_required")

    # Credentials

    def _authenticate_key(self, fields: HeaderFields) -> Principal:
        """The owner of the first key in the header that is known."""
        sent = fields.get(b"authorization")
        found = self._no_key
        if sent is not None:
            scheme = sent[:7].lower()
            if scheme == b"bearer ":
                found = self._find(sent[7:].strip())
            elif scheme[:6] == b"basic " and self._basic is not None and self._basic.password is None:
                found = self._find(_user_and_password(sent)[1])
            if found.problem is None:
                return found
        key = fields.get(b"x-api-key")
        return found if key is None else self._find(key)

    def _find(self, key: bytes) -> Principal:
        digest = hashlib.sha256(key).digest()
        principal = self._by_digest.get(digest)
        if principal is None or not hmac.compare_digest(principal.digest, digest):
            return self._wrong_key
        if principal.expires_at is not None and self._wall_clock() >= principal.expires_at:
            return self._anonymous("expired_api_key", f"the key {principal.name!r} has expired")
        return principal

    def _check_second_factor(self, fields: HeaderFields, principal: Principal) -> Principal:
        basic = self._basic
        if basic is not None and not _is_basic(basic, fields.get(b"authorization", b"")):
            return self._no_basic
        if self._secret is not None and not _same(self._secret, fields.get(b"x-api-secret", b"")):
            return self._no_secret
        return principal

    def _anonymous(self, code: str, message: str) -> Principal:
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
