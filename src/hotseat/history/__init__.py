"""What happened earlier: starts, swaps, failures and requests by minute, in a small SQLite file."""

from hotseat.history.history import FILE, History
from hotseat.history.incidents import RecordedFailure, RecordedSwap
from hotseat.history.minutes import Minute
from hotseat.history.starts import KEPT, RECENT, RecordedStart, StartKind

__all__ = [
    "FILE",
    "KEPT",
    "RECENT",
    "History",
    "Minute",
    "RecordedFailure",
    "RecordedStart",
    "RecordedSwap",
    "StartKind",
]
