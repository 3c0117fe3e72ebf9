"""Swaps (which model left for which) and failures."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hotseat.telemetry.history.file import HistoryFile

INCIDENTS_KEPT = 1000
"""How many swaps, and how many failures, are kept of all models together."""

_SWAPS = """
CREATE TABLE IF NOT EXISTS swaps (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL
);
"""
_FAILURES = """
CREATE TABLE IF NOT EXISTS failures (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, model TEXT NOT NULL, run INTEGER, cause TEXT NOT NULL,
    summary TEXT NOT NULL, hint TEXT
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSwap:
    """One model left GPU memory for another."""

    at: float
    """Unix time."""
    old: str
    """The model that left."""
    new: str
    """The model that needed the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFailure:
    """A failed start or run."""

    at: float
    """Unix time."""
    model: str
    run: int | None
    cause: str
    """A value of ``core.states.Cause``."""
    summary: str
    hint: str | None


class Incidents:
    """The latest swaps and failures in memory, oldest first, and their tables."""

    def __init__(self, file: HistoryFile) -> None:
        self._file = file
        rows = file.read(_SWAPS, "SELECT at, old, new FROM swaps ORDER BY id")
        self.swaps = deque((RecordedSwap(at=at, old=old, new=new) for at, old, new in rows), INCIDENTS_KEPT)
        rows = file.read(_FAILURES, "SELECT at, model, run, cause, summary, hint FROM failures ORDER BY id")
        self.failures = deque(
            (
                RecordedFailure(at=at, model=model, run=run, cause=cause, summary=summary, hint=hint)
                for at, model, run, cause, summary, hint in rows
            ),
            INCIDENTS_KEPT,
        )

    def swapped(self, swap: RecordedSwap) -> None:
        """Record a swap."""
        self.swaps.append(swap)
        self._file.write(
            ("INSERT INTO swaps (at, old, new) VALUES (?, ?, ?)", (swap.at, swap.old, swap.new)),
            _prune("swaps"),
        )

    def failed(self, failure: RecordedFailure) -> None:
        """Record a failure."""
        self.failures.append(failure)
        row = (failure.at, failure.model, failure.run, failure.cause, failure.summary, failure.hint)
        self._file.write(
            (
                "INSERT INTO failures (at, model, run, cause, summary, hint) VALUES (?, ?, ?, ?, ?, ?)",
                row,
            ),
            _prune("failures"),
        )


def _prune(table: str) -> tuple[str, tuple[int]]:
    return f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?", (INCIDENTS_KEPT,)
