"""Combinations of keys that lock somebody out: valid, and hardly ever meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from hotseat.config.access import ADMIN_KEY, KEY
from hotseat.core.access_spec import KeySpec
from hotseat.core.spec import Settings


@dataclass(frozen=True, slots=True)
class ConfigWarning:
    """Something in a valid configuration that is hardly meant: what follows from it, and what to do."""

    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.message} ({self.fix})"

    def as_json(self) -> dict[str, str]:
        """Return the fields as ``hotseat check-config --json`` prints them."""
        return asdict(self)


def lockouts(settings: Settings, now: float) -> Iterator[ConfigWarning]:
    """Yield who is locked out; ``now`` is Unix time, since keys may have expired."""
    auth = settings.auth
    if not auth.enforced or not auth.keys:
        return
    valid = [key for key in auth.keys if key.expires_at is None or key.expires_at > now]
    if not valid:
        yield ConfigWarning(
            "every key has expired, so nobody can use anything", "hotseat rotate-key, or a new key"
        )
        return
    if not any(key.admin for key in valid):
        expired = " that has not expired" if any(key.admin for key in auth.keys) else ""
        yield ConfigWarning(
            f"no key{expired} is an admin key, so status, start, stop, reload and other admin commands are "
            "refused to everybody",
            f"set {ADMIN_KEY}, or write admin: true for one of the keys",
        )
    closed = [
        route.name
        for route in settings.routes
        if route.policy.auth and not any(_opens(key, route.name) for key in valid)
    ]
    if closed and len(closed) == len(settings.routes):
        yield ConfigWarning(
            "no key opens a model: there is only the admin API's key, which clients cannot use",
            f"set {KEY} for clients, or add one under keys",
        )
    elif closed:
        yield ConfigWarning(
            f"no key opens {', '.join(closed)}, so nobody can use {'it' if len(closed) == 1 else 'them'}",
            "name it under models: of a key, or remove it",
        )


def _opens(key: KeySpec, route: str) -> bool:
    return key.routes is None or route in key.routes
