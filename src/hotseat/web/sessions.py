"""Sessions of browsers that have signed in: they survive a restart, and hold no key.

A session is a random token in the browser. Here only its digest is kept, with the credential that signed in
(a digest, too) and the time of its end. The gateway looks the credential up among the present keys, so a
session ends with its key.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

SESSION_S = 12 * 3600.0
"""How long a browser stays signed in."""
SESSIONS_KEPT = 1000
"""How many there are at most; a further one ends the oldest."""
FILE = "sessions.json"
"""The file's name in the state directory."""


class Sessions:
    """All sessions, kept in one small file of mode 600."""

    def __init__(self, path: Path | None, wall_clock: Callable[[], float]) -> None:
        """``path`` is the file (``None``: memory only); ``wall_clock()`` is Unix time in seconds."""
        self._path, self._wall_clock = path, wall_clock
        self._by_digest: dict[str, tuple[str, float]] = _read(path)

    def __len__(self) -> int:
        return len(self._by_digest)

    def create(self, credential: bytes) -> tuple[str, float]:
        """Begin a session; return its token, and when it ends in Unix seconds."""
        token, ends_at = secrets.token_urlsafe(32), self._wall_clock() + SESSION_S
        self._drop_ended()
        while len(self._by_digest) >= SESSIONS_KEPT:
            del self._by_digest[next(iter(self._by_digest))]
        self._by_digest[_digest(token.encode())] = credential.hex(), ends_at
        self._write()
        return token, ends_at

    def find(self, token: bytes) -> tuple[bytes, float] | None:
        """The credential that signed in, and when the session ends; ``None`` if there is none."""
        found = self._by_digest.get(_digest(token))
        if found is None or found[1] <= self._wall_clock():
            return None
        return bytes.fromhex(found[0]), found[1]

    def end(self, token: bytes) -> None:
        """End a session; one that has ended already is no error."""
        if self._by_digest.pop(_digest(token), None) is not None:
            self._write()

    def _drop_ended(self) -> None:
        now = self._wall_clock()
        self._by_digest = {digest: one for digest, one in self._by_digest.items() if one[1] > now}

    def _write(self) -> None:
        if self._path is None:
            return
        new = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk: the sessions live in memory, until a restart
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as file:
                json.dump(self._by_digest, file)
            new.replace(self._path)


def _digest(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()


def _read(path: Path | None) -> dict[str, tuple[str, float]]:
    """The sessions of an earlier start; none where the file is missing or not ours."""
    if path is None:
        return {}
    try:
        rows = json.loads(path.read_bytes())
        return {
            str(digest): (bytes.fromhex(credential).hex(), float(ends_at))
            for digest, (credential, ends_at) in rows.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
