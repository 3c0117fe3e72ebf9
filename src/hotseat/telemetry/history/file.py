"""The SQLite file under the history; without it the history goes on in memory, and says so once."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Statement = tuple[str, Sequence[Any]]
"""SQL and its parameters."""


HELD = 1000
"""Writes that wait while another program has the file locked; the oldest go beyond that."""
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class HistoryFile:
    """A database that never fails its user."""

    def __init__(self, path: Path | None, on_trouble: Callable[[str], None]) -> None:
        """``path`` is the file (``None``: memory only); ``on_trouble`` is told once why nothing is kept on
        disk, or is not yet."""
        self._path = path
        self._on_trouble = on_trouble
        self._database: sqlite3.Connection | None = None
        self._held: deque[Sequence[Statement]] = deque(maxlen=HELD)
        self._locked = False
        """Somebody else has it, and that has been said."""
        if path is not None:
            try:
                self._database = database = sqlite3.connect(path, timeout=0.05, isolation_level=None)
                # In WAL mode with synchronous off no write waits for the disk; a power cut may cost the
                # last rows.
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = OFF")
            except (sqlite3.Error, OSError) as error:
                self.give_up(error)

    def read(self, schema: str, query: str) -> list[tuple[Any, ...]]:
        """Make the tables of ``schema`` if they are not there, and read all rows; none without a file."""
        if self._database is None:
            return []
        try:
            self._database.executescript(schema)
            return self._database.execute(query).fetchall()
        except sqlite3.Error as error:
            self.give_up(error)
            return []

    def write(self, *statements: Statement) -> None:
        """Carry them out together, or not at all; never raises.

        While another program has the file locked they wait, and go with the next ones.
        """
        if self._database is None:
            return
        self._held.append(statements)
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for held in self._held:
                for sql, parameters in held:
                    self._database.execute(sql, parameters)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) in _BUSY:
                self._wait(self._database)
            else:
                self.give_up(error)
        else:
            self._held.clear()
            self._locked = False

    def _wait(self, database: sqlite3.Connection) -> None:
        if database.in_transaction:
            database.execute("ROLLBACK")
        if not self._locked:
            self._locked = True
            self._on_trouble(f"the history is written later: another program has {self._path} locked")

    def give_up(self, why: Exception) -> None:
        """Keep nothing on disk any more."""
        if self._database is None and self._path is None:
            return
        self.close()
        self._on_trouble(
            f"the history is kept in memory only: {self._path} cannot be used ({why}); "
            "delete it to begin anew"
        )
        self._path = None

    def close(self) -> None:
        """Let go of the file."""
        self._held.clear()
        if self._database is not None:
            self._database.close()
            self._database = None
