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
from typing import Protocol

from hotseat.core.access_spec import AuthSpec, BasicSpec, KeySpec
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.policy.cors import Cors
from hotseat.gateway.policy.rate_limit import Limit, Limiter
from hotseat.gateway.routing import Route

HeaderFields = Mapping[bytes, bytes]
"""Header fields by name (lower case)."""

SESSION_COOKIE = b"hotseat_session"
_SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class SessionLookup(Protocol):
    """The sessions of browsers that have signed in."""

    def find(self, token: bytes) -> tuple[bytes, float] | None:
        """The credential that signed in (``Principal.credential``) and when the session ends, in Unix
        seconds; ``None`` if there is no such session."""


class Principal:
    """The sender of a request: the owner of a key, or an anonymous client with the reason why it is one."""

    __slots__ = (
        "admin",
        "credential",
        "digest",
        "expires_at",
        "limits",
        "name",
        "origins",
        "priority",
        "problem",
        "progress",
        "routes",
        "session",
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
        self.origins = None if spec.origins is None else Cors(spec.origins)
        self.priority = spec.priority
        self.progress = spec.progress
        self.problem = problem
        """The refusal where a key is required; ``None``: the client is authenticated."""
        self.credential: bytes | None = None
        """What a session of this client is bound to: a digest of its key and of the second factors;
        ``None``: it cannot sign in."""
        self.session = False
        """Whether the client was recognised by its session."""

    def of_session(self, ends_at: float) -> Principal:
        """The same client, recognised by a session that ends at this Unix time.

        On the page an admin may talk to every model; as a key for programs, ``ADMIN_API_KEY`` opens none.
        """
        copy = object.__new__(Principal)
        for name in Principal.__slots__:
            setattr(copy, name, getattr(self, name))
        copy.expires_at, copy.session = ends_at, True
        if copy.admin:
            copy.routes = None
        return copy

    def may_use(self, route: Route) -> bool:
        """Whether the route is open to this client."""
        if not route.guarded:
            return True
        return self.problem is None and (self.routes is None or route.name in self.routes)


class Authenticator:
    """The keys of one configuration, and the second factors besides them."""

    def __init__(
        self,
        auth: AuthSpec,
        limiter: Limiter,
        wall_clock: Callable[[], float],
        sessions: SessionLookup | None = None,
    ) -> None:
        """``wall_clock()`` is the time of day, in seconds since 1970."""
        self._wall_clock = wall_clock
        self._sessions = sessions
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
        self._signed_in = self._credentials(auth)
        self._missing = self._no_key
        if not auth.keys:
            self._missing = self._no_basic if auth.basic is not None else self._no_secret

    def limits(self) -> list[Limit]:
        """The limits of all keys."""
        return [limit for principal in self._by_digest.values() for limit in principal.limits]

    def authenticate(self, fields: HeaderFields, method: bytes = b"GET") -> Principal:
        """The principal of a header. Never raises: an anonymous one holds its refusal (``problem``).

        A browser's session counts where the header holds no valid credential.
        """
        principal = self._authenticate_key(fields) if self._by_digest else self._open
        if self._basic is not None or self._secret is not None:
            principal = self._check_second_factor(fields, principal if self._by_digest else self._without_key)
        if principal.problem is not None and b"cookie" in fields and self._sessions is not None:
            signed_in = self._find_session(self._sessions, fields, method)
            if signed_in is not None:
                return signed_in
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

    # Sessions

    def _credentials(self, auth: AuthSpec) -> dict[bytes, Principal]:
        """Give every principal that may sign in its credential. A changed second factor changes them all."""
        basic = auth.basic
        factors = [auth.api_secret or b""]
        factors += [basic.user, basic.password or b""] if basic is not None else []
        principals = list(self._by_digest.values())
        if not auth.keys and auth.configured:
            principals = [self._without_key]
        for principal in principals:
            if principal.origins is None:  # a web page's key is public
                principal.credential = hashlib.sha256(b"\0".join([principal.digest, *factors])).digest()
        return {p.credential: p for p in principals if p.credential is not None}

    def _find_session(self, sessions: SessionLookup, fields: HeaderFields, method: bytes) -> Principal | None:
        """The principal of a session, if a page of our own sends it."""
        token = session_token(fields[b"cookie"])
        if token is None or not _is_same_origin(fields, method):
            return None
        found = sessions.find(token)
        principal = self._signed_in.get(found[0]) if found is not None else None
        if found is None or principal is None:  # signed out, expired, or its key was rotated
            return None
        ends_at = found[1] if principal.expires_at is None else min(found[1], principal.expires_at)
        return principal.of_session(ends_at) if self._wall_clock() < ends_at else None

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


def session_token(cookie: bytes) -> bytes | None:
    """The session's token in a ``Cookie`` field; ``None`` where there is none."""
    for pair in cookie.split(b";"):
        name, _, value = pair.strip().partition(b"=")
        if name == SESSION_COOKIE:
            return value
    return None


def _is_same_origin(fields: HeaderFields, method: bytes) -> bool:
    """Whether a request comes from a page of ours.

    The cookie alone does not say so: pages on other ports of this machine are of the same site. Browsers
    send ``Sec-Fetch-Site`` to secure origins and loopback only, and ``Origin`` with every order.
    """
    site = fields.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin" or (site == b"none" and method in _SAFE_METHODS)
    origin = fields.get(b"origin")
    if origin is None:
        return method in _SAFE_METHODS
    return origin.partition(b"://")[2] == fields.get(b"host")


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
