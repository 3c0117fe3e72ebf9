"""Swaps and failures: who had to leave for whom, and what went wrong."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hotseat.telemetry.history.file import HistoryFile

INCIDENTS_KEPT = 1000
"""Swaps, and failures, kept of all models together."""

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
    """A model gave up its seat for another."""

    at: float
    """Unix time."""
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFailure:
    """A run did not do what it should."""

    at: float
    """Unix time."""
    model: str
    run: int | None
    cause: str
    """A word of ``core.states.Cause``."""
    summary: str
    hint: str | None


class Incidents:
    """The latest swaps and failures, oldest first; reads come from memory."""

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
        """Remember a swap; never raises."""
        self.swaps.append(swap)
        self._file.write(
            ("INSERT INTO swaps (at, old, new) VALUES (?, ?, ?)", (swap.at, swap.old, swap.new)),
            _pruned("swaps"),
        )

    def failed(self, failure: RecordedFailure) -> None:
        """Remember a failure; never raises."""
        self.failures.append(failure)
        row = (failure.at, failure.model, failure.run, failure.cause, failure.summary, failure.hint)
        self._file.write(
            (
                "INSERT INTO failures (at, model, run, cause, summary, hint) VALUES (?, ?, ?, ?, ?, ?)",
                row,
            ),
            _pruned("failures"),
        )


def _pruned(table: str) -> tuple[str, tuple[int]]:
    return f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?", (INCIDENTS_KEPT,)
