"""What happened earlier: starts, swaps, failures and requests by minute, in a small SQLite file."""

from hotseat.history.history import FILE, History
from hotseat.history.incidents import Failure, Swap
from hotseat.history.minutes import Minute
from hotseat.history.starts import KEPT, RECENT, Kind, Start

__all__ = ["FILE", "KEPT", "RECENT", "Failure", "History", "Kind", "Minute", "Start", "Swap"]
