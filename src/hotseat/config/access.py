"""Clients' keys, from the file and the environment, as digests."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence

from hotseat.bounded_file import read_bounded
from hotseat.config.document import Document, Path, SourcePosition
from hotseat.config.parsers.secrets import secret as parse_secret
from hotseat.config.parsers.times import moment
from hotseat.config.schema.keys import BasicAuthConfig, KeyConfig
from hotseat.config.schema.root import RootConfig
from hotseat.core.access_spec import AuthSpec, BasicSpec, KeySpec, LimitSpec
from hotseat.core.spec import RouteSpec

KEY = "VLLM_API_KEY"
"""The clients' default key."""
OLD_KEY, OLD_KEY_UNTIL = "VLLM_API_KEY_OLD", "VLLM_API_KEY_OLD_UNTIL"
"""The previous default key and when it expires; ``hotseat rotate-key`` writes both."""
ADMIN_KEY = "ADMIN_API_KEY"

_MAX_FILE_BYTES = 64 * 1024


class AccessResolver:
    """Makes the ``AuthSpec``; problems go into the document."""

    def __init__(
        self, document: Document, root: RootConfig, env: Mapping[str, str], file: Callable[[str], str]
    ) -> None:
        """``file`` resolves a path that the configuration names."""
        self._document, self._root, self._env, self._file = document, root, env, file
        self.secrets: set[str] = set()
        """Secrets that were read; they must never be shown."""

    def spec(self, routes: Sequence[RouteSpec]) -> AuthSpec:
        """All keys and secrets; ``routes`` are those that keys can give access to."""
        root = self._root
        named = [self._key(name, key, routes) for name, key in root.keys.items()]
        keys = [*self._from_environment(any(key.admin for key in named)), *named]
        self._check_unique(keys)
        auth = AuthSpec(
            keys=tuple(keys),
            required=root.auth is not False,
            api_secret=_digest(self._remember(root.api_secret)) if root.api_secret else None,
            basic=self._basic(root.basic) if root.basic else None,
            trusted_proxies=root.trusted_proxies,
            cloudflare_proxies=root.cloudflare_proxies,
        )
        if auth.basic and auth.basic.password is None and not keys and not self._document.tainted(("keys",)):
            self._document.problem(
                ("basic",), "needs a password, or a configured key to use as one", "add password: ${VARIABLE}"
            )
        return auth

    def _from_environment(self, has_admin: bool) -> list[KeySpec]:
        default, admin, old = (self._variable(name) for name in (KEY, ADMIN_KEY, OLD_KEY))
        has_admin = has_admin or bool(admin)
        keys: list[KeySpec] = []
        if default:
            # Admin as long as no other key is.
            keys.append(KeySpec(name=KEY, digest=_digest(default), admin=not has_admin or admin == default))
        if admin and admin != default:
            keys.append(KeySpec(name=ADMIN_KEY, digest=_digest(admin), routes=frozenset(), admin=True))
        if old and old not in (default, admin):
            until = self._old_until()
            keys.append(KeySpec(name=OLD_KEY, digest=_digest(old), admin=not has_admin, expires_at=until))
        return keys

    def _variable(self, name: str) -> str:
        value = self._env.get(name, "")
        if not value:
            return ""
        try:
            return self._remember(parse_secret(value))
        except ValueError as error:
            self._variable_problem(name, str(error))
            return ""

    def _old_until(self) -> float:
        until = self._env.get(OLD_KEY_UNTIL, "")
        try:
            return moment(until)
        except ValueError as error:
            self._variable_problem(OLD_KEY_UNTIL, f"must say when {OLD_KEY} expires: {error}")
            return 0.0

    def _variable_problem(self, name: str, message: str) -> None:
        self._document.positions[(name,)] = SourcePosition("environment", None, name)
        self._document.problem((name,), message)

    # keys of the file

    def _key(self, name: str, key: KeyConfig, routes: Sequence[RouteSpec]) -> KeySpec:
        at: Path = ("keys", name)
        if name in (KEY, OLD_KEY, ADMIN_KEY) or not name.isprintable() or not name.strip():
            self._document.problem(at, "cannot be the name of a key", "choose another name")
        if key.admin and key.origins is not None:
            self._document.problem(
                (*at, "admin"), "a key with origins is public and cannot be an admin key", "remove this line"
            )
        return KeySpec(
            name=name,
            digest=self._digest_of(at, key),
            routes=None if key.models is None else self._allowed_routes(at, key.models, routes),
            admin=key.admin,
            limits=scoped(key.rate_limit or (), f"key {name}"),
            expires_at=key.expires,
            origins=key.origins,
            priority=key.priority,
            progress=None if key.progress == "off" else key.progress,
        )

    def _digest_of(self, at: Path, key: KeyConfig) -> bytes:
        given = [n for n in ("key", "key_file", "sha256") if getattr(key, n) is not None]
        if len(given) != 1:
            if not self._document.tainted(at):
                self._document.problem(
                    at, "needs exactly one of key, key_file and sha256", "for example key: ${VARIABLE}"
                )
            return b""
        if key.sha256 is not None:
            return key.sha256
        return _digest(
            self._remember(key.key if key.key is not None else self._from_file(at, key.key_file or ""))
        )

    def _from_file(self, at: Path, name: str) -> str:
        at = (*at, "key_file")
        try:
            text = read_bounded(self._file(name), _MAX_FILE_BYTES).decode("ascii").strip()
            return parse_secret(text)
        except OSError as error:
            self._document.problem(at, f"cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            self._document.problem(at, "contains more than a key: a key consists of ASCII characters")
        except ValueError as error:
            self._document.problem(at, f"does not contain a valid key: {error}")
        return ""

    def _allowed_routes(self, at: Path, names: Sequence[str], routes: Sequence[RouteSpec]) -> frozenset[str]:
        """The routes that a key may use. A route's name means that route, a model's name all its routes."""
        allowed: set[str] = set()
        for name in names:
            found = [route.name for route in routes if route.name == name] or [
                route.name for route in routes if route.model == name
            ]
            allowed.update(found)
            if not found and not {("models", name), ("routes", name)} & self._document.bad:
                known = [*self._root.models, *self._root.routes]
                near = difflib.get_close_matches(name, known, n=1)
                self._document.problem(
                    (*at, "models"),
                    f"there is no model or route {self._document.shown((*at, 'models'), name)}",
                    f"did you mean {near[0]}?" if near else f"configured: {', '.join(dict.fromkeys(known))}",
                )
        return frozenset(allowed)

    def _check_unique(self, keys: Sequence[KeySpec]) -> None:
        seen: dict[bytes, str] = {}
        for key in keys:
            first = seen.setdefault(key.digest, key.name)
            if first != key.name and key.digest:
                self._document.problem(
                    ("keys", key.name),
                    f"is the same key as {first}",
                    "create another one: openssl rand -hex 32",
                )

    def _basic(self, basic: BasicAuthConfig) -> BasicSpec:
        if basic.user is None and not self._document.tainted(("basic", "user")):
            self._document.problem(("basic",), "needs a user", "add user: NAME")
        password = None if basic.password is None else _digest(self._remember(basic.password))
        return BasicSpec(user=_digest(basic.user or ""), password=password)

    def _remember(self, secret: str) -> str:
        if secret:
            self.secrets.add(secret)
        return secret


def scoped(limits: Sequence[LimitSpec], scope: str) -> tuple[LimitSpec, ...]:
    """The limits, with the scope (a key, route or model) in which they count."""
    return tuple(dataclasses.replace(limit, scope=scope) for limit in limits)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
