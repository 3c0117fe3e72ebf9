"""Every state transition of the last week, for a picture of what the models did when."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hotseat.telemetry.history.file import HistoryFile

MOVES_KEPT = 20_000
"""How many transitions are kept of all models together."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS moves (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, model TEXT NOT NULL, state TEXT NOT NULL, cause TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMove:
    """One state transition, or a start of hotseat (``model`` is empty): then nothing older goes on."""

    at: float
    """Unix time."""
    model: str
    state: str
    """The new one; a value of ``core.states.State``."""
    cause: str


class Moves:
    """The latest state transitions in memory, oldest first, and their table."""

    def __init__(self, file: HistoryFile) -> None:
        self._file = file
        rows = file.read(
            _SCHEMA,
            "SELECT at, model, state, cause FROM moves "
            f"WHERE id > (SELECT max(id) FROM moves) - {MOVES_KEPT} ORDER BY id",
        )
        self.moves = deque(
            (RecordedMove(at=at, model=model, state=state, cause=cause) for at, model, state, cause in rows),
            MOVES_KEPT,
        )

    def moved(self, move: RecordedMove) -> None:
        """Record a transition."""
        self.moves.append(move)
        self._file.write(
            (
                "INSERT INTO moves (at, model, state, cause) VALUES (?, ?, ?, ?)",
                (move.at, move.model, move.state, move.cause),
            ),
            ("DELETE FROM moves WHERE id <= (SELECT max(id) FROM moves) - ?", (MOVES_KEPT,)),
        )
