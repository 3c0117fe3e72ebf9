"""The whole history over one file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from hotseat.telemetry.history.file import HistoryFile
from hotseat.telemetry.history.incidents import Incidents, RecordedFailure, RecordedSwap
from hotseat.telemetry.history.minutes import Minute, Minutes
from hotseat.telemetry.history.starts import KEPT, RecordedStart, RecordedStarts, StartKind

FILE = "history.sqlite3"
"""Its name in the state directory."""


class History:
    """What happened earlier. Reads come from memory; writes never wait for the disk and never raise."""

    def __init__(self, path: Path | None, on_trouble: Callable[[str], None]) -> None:
        """``path`` is the SQLite file (``None``: memory only); ``on_trouble`` is told at most once why
        nothing is kept on disk."""
        self._file = HistoryFile(path, on_trouble)
        self._starts = RecordedStarts(self._file)
        self._incidents = Incidents(self._file)
        self._minutes = Minutes(self._file)

    def record_start(self, start: RecordedStart) -> None:
        """Remember a start."""
        self._starts.record(start)

    def recent(self, model: str, count: int = KEPT) -> list[RecordedStart]:
        """The latest starts of a model, oldest first."""
        return self._starts.recent(model, count)

    def eta_s(self, model: str, kind: StartKind = StartKind.COLD) -> float | None:
        """How long a start is expected to take: the median of the latest; ``None`` until there is one."""
        return self._starts.eta_s(model, kind)

    def record_swap(self, swap: RecordedSwap) -> None:
        """Remember a swap."""
        self._incidents.swapped(swap)

    def swaps(self, count: int) -> list[RecordedSwap]:
        """The latest swaps, newest first."""
        return list(self._incidents.swaps)[: -count - 1 : -1]

    def record_failure(self, failure: RecordedFailure) -> None:
        """Remember a failure."""
        self._incidents.failed(failure)

    def failures(self, count: int) -> list[RecordedFailure]:
        """The latest failures, newest first."""
        return list(self._incidents.failures)[: -count - 1 : -1]

    def record_minutes(self, minutes: Iterable[Minute]) -> None:
        """Remember what was done in a minute, one for each model."""
        self._minutes.record(minutes)

    def minutes(self, model: str, since: int) -> list[Minute]:
        """The model's minutes from ``since`` (in minutes since 1970) on, oldest first."""
        return self._minutes.recent(model, since)

    def close(self) -> None:
        """Let go of the file; reading goes on from memory."""
        self._file.close()
