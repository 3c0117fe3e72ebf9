"""Requests and tokens by minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from hotseat.telemetry.history.file import HistoryFile

MINUTES_KEPT = 7 * 24 * 60
"""How far back the file goes, in minutes."""
REMEMBERED = 60
"""Minutes of each model that can be asked for."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS minutes (
    minute INTEGER NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL, errors INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, PRIMARY KEY (minute, model)
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What was done for a model in one minute."""

    minute: int
    """Since 1970, in minutes."""
    model: str
    requests: int
    errors: int
    """Of the requests, those answered with a status from 500 on."""
    tokens_in: int
    tokens_out: int


class Minutes:
    """The latest minutes of every model in which there was something to do."""

    def __init__(self, file: HistoryFile) -> None:
        self._file = file
        self._minutes: dict[str, deque[Minute]] = {}
        rows = file.read(
            _SCHEMA,
            "SELECT minute, model, requests, errors, tokens_in, tokens_out FROM minutes "
            f"WHERE minute > (SELECT max(minute) FROM minutes) - {REMEMBERED} ORDER BY minute",
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
        self._minutes.setdefault(minute.model, deque(maxlen=REMEMBERED)).append(minute)

    def record(self, minutes: Iterable[Minute]) -> None:
        """Remember these, all of one minute; a minute that is told twice (hotseat was restarted within
        it) is added up. Never raises."""
        told = list(minutes)
        if not told:
            return
        for one in told:
            self._keep(one)
        add = (
            "INSERT INTO minutes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (minute, model) DO UPDATE SET "
            "requests = requests + excluded.requests, errors = errors + excluded.errors, "
            "tokens_in = tokens_in + excluded.tokens_in, tokens_out = tokens_out + excluded.tokens_out"
        )
        rows = [(m.minute, m.model, m.requests, m.errors, m.tokens_in, m.tokens_out) for m in told]
        self._file.write(
            *((add, row) for row in rows),
            ("DELETE FROM minutes WHERE minute <= ?", (told[0].minute - MINUTES_KEPT,)),
        )

    def recent(self, model: str, since: int) -> list[Minute]:
        """The model's minutes from ``since`` (in minutes since 1970) on, oldest first."""
        return [one for one in self._minutes.get(model, ()) if one.minute >= since]
