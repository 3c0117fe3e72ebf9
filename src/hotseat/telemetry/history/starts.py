"""Durations of starts, for estimates of the next one."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

from hotseat.telemetry.history.file import HistoryFile

KEPT = 50
"""How many starts are kept for each model."""
RECENT = 5
"""How many of the latest starts an estimate is made of."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS starts (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, fingerprint TEXT NOT NULL, kind TEXT NOT NULL,
    seconds REAL NOT NULL, phases TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS starts_of_model ON starts (model, id);
"""


class StartKind(StrEnum):
    """Whether a model was launched, woken from sleep, or admitted after it had stood by."""

    COLD = "cold"
    WAKE = "wake"
    STANDBY = "standby"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStart:
    """One successful start and its duration."""

    model: str
    fingerprint: str
    kind: StartKind
    seconds: float
    """From the launch (or the order to wake) to the passed readiness probe."""
    at: float
    """When the model was ready, in Unix seconds."""
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds that each phase took, in the order of the phases."""


class RecordedStarts:
    """The latest starts of every model in memory, and their table."""

    def __init__(self, file: HistoryFile) -> None:
        self._file = file
        self._starts: dict[str, deque[RecordedStart]] = {}
        rows = file.read(
            _SCHEMA, "SELECT model, fingerprint, kind, seconds, phases, at FROM starts ORDER BY id"
        )
        try:
            for model, fingerprint, kind, seconds, phases, at in rows:
                self._keep(
                    RecordedStart(
                        model=model,
                        fingerprint=fingerprint,
                        kind=StartKind(kind),
                        seconds=seconds,
                        phases=json.loads(phases),
                        at=at,
                    )
                )
        except ValueError as error:
            file.give_up(error)

    def _keep(self, start: RecordedStart) -> None:
        self._starts.setdefault(start.model, deque(maxlen=KEPT)).append(start)

    def record(self, start: RecordedStart) -> None:
        """Record a start."""
        self._keep(start)
        phases = json.dumps(dict(start.phases))
        row = (start.model, start.fingerprint, start.kind, start.seconds, phases, start.at)
        self._file.write(
            (
                "INSERT INTO starts (model, fingerprint, kind, seconds, phases, at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                row,
            ),
            (
                "DELETE FROM starts WHERE model = ?1 AND id NOT IN "
                "(SELECT id FROM starts WHERE model = ?1 ORDER BY id DESC LIMIT ?2)",
                (start.model, KEPT),
            ),
        )

    def recent(self, model: str, count: int = KEPT) -> list[RecordedStart]:
        """Return the model's latest starts, oldest first."""
        return list(self._starts.get(model, ()))[-count:] if count > 0 else []

    def eta_s(self, model: str, kind: StartKind = StartKind.COLD) -> float | None:
        """Return the median of the latest starts in seconds; ``None`` until there is one."""
        seconds = [start.seconds for start in self.recent(model) if start.kind is kind][-RECENT:]
        return median(seconds) if seconds else None
