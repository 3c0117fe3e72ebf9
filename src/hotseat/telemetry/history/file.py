"""The SQLite file of the history. If it cannot be used, the history lives in memory and says so once."""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Statement = tuple[str, Sequence[Any]]
"""SQL and its parameters."""

MAX_PENDING = 1000
"""How many writes wait while another program has the file locked; beyond that the oldest are dropped."""
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class HistoryFile:
    """A SQLite database whose methods never raise."""

    def __init__(self, path: Path | None, on_trouble: Callable[[str], None]) -> None:
        """``path`` is the file (``None``: memory only); ``on_trouble`` is called with a message when the file
        cannot be used any more, and when another program has it locked."""
        self._path = path
        self._on_trouble = on_trouble
        self._database: sqlite3.Connection | None = None
        self._pending: deque[Sequence[Statement]] = deque(maxlen=MAX_PENDING)
        self._locked = False
        """Whether another program has it locked (``on_trouble`` has been told)."""
        if path is not None:
            try:
                # SQLite gives its further files (-wal, -shm) the permissions of this one.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                path.chmod(0o600)
                self._database = database = sqlite3.connect(path, timeout=0.05, isolation_level=None)
                # In WAL mode with synchronous off no write waits for the disk; a power failure may lose the
                # last rows.
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = OFF")
            except (sqlite3.Error, OSError) as error:
                self.give_up(error)

    def read(self, schema: str, query: str) -> list[tuple[Any, ...]]:
        """Create the tables of ``schema`` if they are missing, and return the rows of ``query``."""
        if self._database is None:
            return []
        try:
            self._database.executescript(schema)
            return self._database.execute(query).fetchall()
        except sqlite3.Error as error:
            self.give_up(error)
            return []

    def write(self, *statements: Statement) -> None:
        """Execute the statements in one transaction.

        While another program has the file locked they are kept, and executed with the next ones.
        """
        if self._database is None:
            return
        self._pending.append(statements)
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for statements_of_one in self._pending:
                for sql, parameters in statements_of_one:
                    self._database.execute(sql, parameters)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) in _BUSY:
                self._postpone(self._database)
            else:
                self.give_up(error)
        else:
            self._pending.clear()
            self._locked = False

    def _postpone(self, database: sqlite3.Connection) -> None:
        if database.in_transaction:
            database.execute("ROLLBACK")
        if not self._locked:
            self._locked = True
            self._on_trouble(
                f"another program has {self._path} locked; the history is written once it is free"
            )

    def give_up(self, why: Exception) -> None:
        """Stop using the file, and report why."""
        if self._database is None and self._path is None:
            return
        self.close()
        self._on_trouble(
            f"the history is kept in memory only: {self._path} cannot be used ({why}); "
            "to start a new one, delete it and restart hotseat"
        )
        self._path = None

    def close(self) -> None:
        """Close the file."""
        self._pending.clear()
        if self._database is not None:
            self._database.close()
            self._database = None
