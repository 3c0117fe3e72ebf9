"""Changes on the page, as they happen: the latest state of everything, never a backlog.

Each thing that is shown (a model, the box, a request) has a key and its latest state as JSON. All viewers
share one reading of it. A viewer is sent what has changed since it was last sent something, so one with a
slow line gets fewer updates and holds nobody up, and nothing is read where there is no viewer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

FRESH_S = 0.05
"""A reading that young serves the next viewer too."""
REREAD_S = 0.2
"""How often the state is read while somebody looks; events are told at once."""
STILL_HERE_S = 15.0
"""A stream in which nothing changes says so that often, for proxies."""

Collect = Callable[[], Mapping[str, Any]]
"""Reads the present state of one topic: values for JSON, by key."""

_encode = msgspec.json.encode


class LiveTopic:
    """The latest state of one topic, with the version in which each part of it changed last."""

    def __init__(self, collect: Collect, clock: Callable[[], float]) -> None:
        """``clock()`` is monotonic, in seconds."""
        self._collect, self._clock = collect, clock
        self._read_at = float("-inf")
        self._version = 0
        self._parts: dict[str, tuple[int, bytes | None]] = {}
        """By key: the version, and the JSON; ``None`` for a part that has gone."""

    def refresh(self) -> int:
        """Read the state again unless that has just been done; return the version."""
        now = self._clock()
        if now - self._read_at < FRESH_S:
            return self._version
        self._read_at = now
        state = {key: _encode(value) for key, value in self._collect().items()}
        changed: dict[str, bytes | None] = {
            key: data for key, data in state.items() if self._parts.get(key, (0, None))[1] != data
        }
        changed |= {
            key: None for key, (_, data) in self._parts.items() if data is not None and key not in state
        }
        if changed:
            self._version += 1
            for key, data in changed.items():
                self._parts[key] = self._version, data
            self._forget_gone()
        return self._version

    def since(self, version: int) -> bytes | None:
        """The parts that changed after that version, as a JSON object of parts by key (``null``: gone).

        ``None`` where none did. Version 0 is everything.
        """
        parts = [
            _encode(key) + b":" + (data or b"null")
            for key, (changed, data) in self._parts.items()
            if changed > version and (data is not None or version)
        ]
        return b"{" + b",".join(parts) + b"}" if parts else None

    def _forget_gone(self) -> None:
        """Keep what has gone for a while only: a viewer that has slept longer gets everything anew."""
        gone = [key for key, (_, data) in self._parts.items() if data is None]
        for key in gone[: max(0, len(gone) - 5000)]:
            del self._parts[key]
