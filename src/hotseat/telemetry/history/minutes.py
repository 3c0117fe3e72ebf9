"""Requests and tokens per minute."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hotseat.telemetry.history.file import HistoryFile

MINUTES_KEPT = 7 * 24 * 60
"""How far back the file goes, in minutes."""
MINUTES_IN_MEMORY = 60
"""How many minutes of each model can be read."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS minutes (
    minute INTEGER NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL, errors INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, PRIMARY KEY (minute, model)
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """One model's requests and tokens in one minute."""

    minute: int
    """Minutes since 1970."""
    model: str
    requests: int
    errors: int
    """How many of the requests were answered with a status of 500 or above."""
    tokens_in: int
    tokens_out: int


class Minutes:
    """The latest minutes with requests of every model, and their table."""

    def __init__(self, file: HistoryFile) -> None:
        self._file = file
        self._minutes: dict[str, deque[Minute]] = {}
        rows = file.read(
            _SCHEMA,
            "SELECT minute, model, requests, errors, tokens_in, tokens_out FROM minutes "
            f"WHERE minute > (SELECT max(minute) FROM minutes) - {MINUTES_IN_MEMORY} ORDER BY minute",
        )
        for minute, model, requests, errors, tokens_in, tokens_out in rows:
            self._keep(
                Minute(
                    minute=minute,
                    model=model,
                    requests=requests,
                    errors=errors,
                    tokens_in=tokens_in,
                    tokens_out=tokens_out,
                )
            )

    def _keep(self, minute: Minute) -> None:
        self._minutes.setdefault(minute.model, deque(maxlen=MINUTES_IN_MEMORY)).append(minute)

    def record(self, minutes: Iterable[Minute]) -> None:
        """Record the rows of one minute, one for each model.

        Rows of a minute that is in the file already (hotseat was restarted within it) are added up.
        """
        rows = list(minutes)
        if not rows:
            return
        for row in rows:
            self._keep(row)
        add = (
            "INSERT INTO minutes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (minute, model) DO UPDATE SET "
            "requests = requests + excluded.requests, errors = errors + excluded.errors, "
            "tokens_in = tokens_in + excluded.tokens_in, tokens_out = tokens_out + excluded.tokens_out"
        )
        values = [(m.minute, m.model, m.requests, m.errors, m.tokens_in, m.tokens_out) for m in rows]
        self._file.write(
            *((add, row) for row in values),
            ("DELETE FROM minutes WHERE minute <= ?", (rows[0].minute - MINUTES_KEPT,)),
        )

    def recent(self, model: str, since: int) -> list[Minute]:
        """Return the model's minutes from ``since`` (minutes since 1970) on, oldest first."""
        return [one for one in self._minutes.get(model, ()) if one.minute >= since]


def traffic(path: Path | None, since: int, bucket: int) -> list[Minute]:
    """Return the rows of the file from the minute ``since`` on, in sums of ``bucket`` minutes.

    Empty where there is no file, or it cannot be read.
    """
    if path is None or not path.is_file():
        return []
    query = (
        "SELECT minute / ?1 * ?1, model, sum(requests), sum(errors), sum(tokens_in), sum(tokens_out) "
        "FROM minutes WHERE minute >= ?2 GROUP BY 1, 2 ORDER BY 1"
    )
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1.0)) as database:
            rows = database.execute(query, (bucket, since)).fetchall()
    except sqlite3.Error:
        return []
    names = ("minute", "model", "requests", "errors", "tokens_in", "tokens_out")
    return [Minute(**dict(zip(names, row, strict=True))) for row in rows]
