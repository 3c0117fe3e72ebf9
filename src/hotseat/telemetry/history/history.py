"""The history: one SQLite file and what is remembered of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from hotseat.telemetry.history.file import HistoryFile
from hotseat.telemetry.history.incidents import Incidents, RecordedFailure, RecordedSwap
from hotseat.telemetry.history.minutes import Minute, Minutes, traffic
from hotseat.telemetry.history.moves import Moves, RecordedMove
from hotseat.telemetry.history.starts import KEPT, RecordedStart, RecordedStarts, StartKind

FILE = "history.sqlite3"
"""The file's name in the state directory."""


class History:
    """All of the history. Reads come from memory; writes never wait for the disk or raise."""

    def __init__(self, path: Path | None, on_trouble: Callable[[str], None]) -> None:
        """``path`` is the SQLite file (``None``: memory only); ``on_trouble`` is called with a message
        when the file cannot be written."""
        self._file = HistoryFile(path, on_trouble)
        self._starts = RecordedStarts(self._file)
        self._incidents = Incidents(self._file)
        self._minutes = Minutes(self._file)
        self._moves = Moves(self._file)
        self._path = path

    def record_start(self, start: RecordedStart) -> None:
        """Record a start."""
        self._starts.record(start)

    def recent(self, model: str, count: int = KEPT) -> list[RecordedStart]:
        """Return the model's latest starts, oldest first."""
        return self._starts.recent(model, count)

    def eta_s(self, model: str, kind: StartKind = StartKind.COLD) -> float | None:
        """Return how many seconds a start is expected to take; ``None`` until one was recorded."""
        return self._starts.eta_s(model, kind)

    def record_swap(self, swap: RecordedSwap) -> None:
        """Record a swap."""
        self._incidents.swapped(swap)

    def swaps(self, count: int) -> list[RecordedSwap]:
        """Return the latest swaps, newest first."""
        return list(self._incidents.swaps)[: -count - 1 : -1]

    def record_failure(self, failure: RecordedFailure) -> None:
        """Record a failure."""
        self._incidents.failed(failure)

    def failures(self, count: int) -> list[RecordedFailure]:
        """Return the latest failures, newest first."""
        return list(self._incidents.failures)[: -count - 1 : -1]

    def record_minutes(self, minutes: Iterable[Minute]) -> None:
        """Record one minute; there is one row for each model."""
        self._minutes.record(minutes)

    def minutes(self, model: str, since: int) -> list[Minute]:
        """Return the model's minutes from ``since`` (minutes since 1970) on, oldest first."""
        return self._minutes.recent(model, since)

    def record_move(self, move: RecordedMove) -> None:
        """Record a state transition, or a start of hotseat."""
        self._moves.moved(move)

    def moves(self) -> list[RecordedMove]:
        """Return the state transitions that are kept, oldest first."""
        return list(self._moves.moves)

    def traffic(self, since: int, bucket: int) -> list[Minute]:
        """Return all models' traffic from the minute ``since`` on, in sums of ``bucket`` minutes.

        Reads the file, and so may take some milliseconds: for a thread of its own.
        """
        return traffic(self._path, since, bucket)

    def close(self) -> None:
        """Close the file; reads still work, from memory."""
        self._file.close()
