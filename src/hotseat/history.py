"""How long starts took: kept in a small SQLite file, so that estimates survive a restart.

Reads come from memory, never from the disk. Where the file cannot be read or written, the history goes
on in memory and says so once.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from statistics import median

KEPT = 50
"""Starts kept for each model."""
RECENT = 5
"""Starts that an estimate is made of."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS starts (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, fingerprint TEXT NOT NULL, kind TEXT NOT NULL,
    seconds REAL NOT NULL, phases TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS starts_of_model ON starts (model, id);
"""


class Kind(StrEnum):
    """From where a model came."""

    COLD = "cold"
    WAKE = "wake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start that ended in a ready model."""

    model: str
    fingerprint: str
    kind: Kind
    seconds: float
    """From the launch (or the order to wake) to the probe that passed."""
    at: float
    """When it was ready, in seconds of Unix time."""
    phases: Mapping[str, float] = field(default_factory=dict)
    """How many seconds each phase took, in their order."""


class History:
    """The latest starts of every model."""

    def __init__(self, path: Path | None, on_trouble: Callable[[str], None]) -> None:
        """``path`` is the SQLite file (``None``: memory only); ``on_trouble`` is told at most once why
        nothing is kept on disk."""
        self._on_trouble = on_trouble
        self._starts: dict[str, deque[Start]] = {}
        self._database: sqlite3.Connection | None = None
        if path is not None:
            try:
                self._load(path)
            except (sqlite3.Error, OSError, ValueError) as error:
                self._give_up(f"{path} cannot be used ({error}); delete it to begin anew")

    def _load(self, path: Path) -> None:
        database = sqlite3.connect(path, timeout=0.05, isolation_level=None)
        self._database = database
        # In WAL mode with synchronous off no write waits for the disk; a power cut may cost the last rows.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        database.executescript(_SCHEMA)
        rows = database.execute(
            "SELECT model, fingerprint, kind, seconds, phases, at FROM starts ORDER BY id"
        )
        for model, fingerprint, kind, seconds, phases, at in rows:
            start = Start(
                model=model,
                fingerprint=fingerprint,
                kind=Kind(kind),
                seconds=seconds,
                phases=json.loads(phases),
                at=at,
            )
            self._keep(start)

    def _keep(self, start: Start) -> None:
        self._starts.setdefault(start.model, deque(maxlen=KEPT)).append(start)

    def _give_up(self, why: str) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
        self._on_trouble(f"the history of starts is kept in memory only: {why}")

    def record_start(self, start: Start) -> None:
        """Remember a start; never raises."""
        self._keep(start)
        if self._database is None:
            return
        phases = json.dumps(dict(start.phases))
        row = (start.model, start.fingerprint, start.kind, start.seconds, phases, start.at)
        try:
            self._database.execute("BEGIN")
            self._database.execute(
                "INSERT INTO starts (model, fingerprint, kind, seconds, phases, at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                row,
            )
            self._database.execute(
                "DELETE FROM starts WHERE model = ?1 AND id NOT IN "
                "(SELECT id FROM starts WHERE model = ?1 ORDER BY id DESC LIMIT ?2)",
                (start.model, KEPT),
            )
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(str(error))

    def recent(self, model: str, count: int = KEPT) -> list[Start]:
        """The latest starts of a model, oldest first."""
        return list(self._starts.get(model, ()))[-count:] if count > 0 else []

    def eta_s(self, model: str, kind: Kind = Kind.COLD) -> float | None:
        """How long a start is expected to take: the median of the latest; ``None`` until there is one."""
        seconds = [start.seconds for start in self.recent(model) if start.kind is kind][-RECENT:]
        return median(seconds) if seconds else None

    def close(self) -> None:
        """Let go of the file; reading goes on from memory."""
        if self._database is not None:
            self._database.close()
            self._database = None
