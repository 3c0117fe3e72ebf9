"""Recorded traffic: one JSON object a line, ``{"at": 12.5, "model": "chat", "seconds": 3.2}``."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

from hotseat.core.spec import BoxSpec
from hotseat.simulation.traffic import Ask, Cost, Scenario


class TraceError(Exception):
    """A line that cannot be used; the message says which, and why."""


def read_trace(lines: Iterable[str], box: BoxSpec, cost: Cost) -> Scenario:
    """The scenario of a trace: every model with the same costs, times counted from the first request.

    ``at`` is a number of seconds or an ISO time, ``seconds`` how long the answer took; ``key`` is
    optional, other fields are ignored. Raises ``TraceError``.
    """
    asks = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                asks.append(_ask(json.loads(line), box))
            except (ValueError, TypeError) as error:
                raise TraceError(f"line {number}: {error}") from None
    if not asks:
        raise TraceError("there is no request in it")
    asks.sort(key=lambda ask: ask.at_s)
    begin_s = asks[0].at_s
    shifted = tuple(Ask(ask.at_s - begin_s, ask.model, ask.service_s, ask.key) for ask in asks)
    costs = dict.fromkeys(box.seats, cost)
    return Scenario("trace", "recorded traffic", box, costs, shifted[-1].at_s + 1.0, asks=shifted)


def _ask(fields: Any, box: BoxSpec) -> Ask:
    if not isinstance(fields, Mapping):
        raise TypeError("not a JSON object")
    missing = [name for name in ("at", "model", "seconds") if name not in fields]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    model, seconds = fields["model"], float(fields["seconds"])
    if model not in box.seats:
        raise ValueError(f"model {model!r} is not configured; there are {', '.join(box.seats)}")
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"seconds is {seconds}")
    at = fields["at"]
    at_s = datetime.datetime.fromisoformat(at).timestamp() if isinstance(at, str) else float(at)
    return Ask(at_s, model, seconds, str(fields.get("key", "")))
