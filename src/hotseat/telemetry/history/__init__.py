"""The history of starts, swaps, failures and requests per minute, in a small SQLite file."""

from hotseat.telemetry.history.history import FILE, History
from hotseat.telemetry.history.incidents import RecordedFailure, RecordedSwap
from hotseat.telemetry.history.minutes import Minute
from hotseat.telemetry.history.moves import RecordedMove
from hotseat.telemetry.history.starts import KEPT, RECENT, RecordedStart, StartKind

__all__ = [
    "FILE",
    "KEPT",
    "RECENT",
    "History",
    "Minute",
    "RecordedFailure",
    "RecordedMove",
    "RecordedStart",
    "RecordedSwap",
    "StartKind",
]
