"""Recorded traffic: hotseat's own access log, or minimal JSON lines:

{"at": 12.5, "model": "chat", "seconds": 3.2}
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

from hotseat.core.spec import SchedulerSpec
from hotseat.simulation.traffic import Scenario, SimulatedRequest, SwapCost


class TraceError(Exception):
    """A line of the trace is invalid; the message says which, and why."""


def read_trace(lines: Iterable[str], spec: SchedulerSpec, costs: Mapping[str, SwapCost]) -> Scenario:
    """The scenario of a trace; times count from the first request.

    ``at`` is a number of seconds or an ISO time, ``seconds`` the duration of the response; ``key`` is
    optional, other fields are ignored. Of an access log, only requests that a model answered are used:
    other log lines, our own pages and refusals are left out. Raises ``TraceError``.
    """
    asks, left_out = [], 0
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                ask = _ask(json.loads(line), spec)
            except (ValueError, TypeError) as error:
                raise TraceError(f"line {number}: {error}") from None
            if ask is None:
                left_out += 1
            else:
                asks.append(ask)
    if not asks:
        raise TraceError("the trace holds no request that a model answered")
    asks.sort(key=lambda ask: ask.at_s)
    begin_s = asks[0].at_s
    shifted = tuple(SimulatedRequest(ask.at_s - begin_s, ask.model, ask.service_s, ask.key) for ask in asks)
    about = "recorded traffic" + (f"; {left_out} lines left out that no model answered" if left_out else "")
    return Scenario("trace", about, spec, costs, shifted[-1].at_s + 1.0, asks=shifted)


def _ask(fields: Any, spec: SchedulerSpec) -> SimulatedRequest | None:
    if not isinstance(fields, Mapping):
        raise TypeError("not a JSON object")
    if "event" in fields:
        if fields["event"] != "request" or not fields.get("model") or fields.get("code"):
            return None
        fields = _of_access_log(fields)
    missing = [name for name in ("at", "model", "seconds") if name not in fields]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    model, seconds = fields["model"], float(fields["seconds"])
    if model not in spec.models:
        raise ValueError(f"model {model!r} is not configured; there are {', '.join(spec.models)}")
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"seconds is {seconds}")
    return SimulatedRequest(_seconds(fields["at"]), model, seconds, str(fields.get("key", "")))


def _of_access_log(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an access log line, whose time is the end of the request."""
    took_s, waited_s = float(fields.get("duration_s", 0.0)), float(fields.get("waited_s", 0.0))
    return {
        "at": _seconds(fields.get("time", "")) - took_s,
        "model": fields["model"],
        "seconds": max(0.0, took_s - waited_s),
        "key": fields.get("key", ""),
    }


def _seconds(at: Any) -> float:
    return datetime.datetime.fromisoformat(at).timestamp() if isinstance(at, str) else float(at)
