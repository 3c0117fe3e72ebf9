"""The timeline's data: what each model did in the last minutes or days, and the traffic in that time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotseat.telemetry.history import History, RecordedMove

SPANS = {15: 1, 60: 1, 24 * 60: 10, 7 * 24 * 60: 60}
"""The spans of time that can be asked for, and the steps of their traffic, in minutes."""


def timeline(history: History, span_min: int, now: float) -> dict[str, Any]:
    """Lanes, swaps, failures and traffic of the last ``span_min`` minutes. Reads a file: for a thread."""
    since, bucket = now - 60 * span_min, SPANS[span_min]
    return {
        "from": since,
        "to": now,
        "bucket_s": 60 * bucket,
        "lanes": lanes(history.moves(), since, now),
        "swaps": [
            {"at": one.at, "from": one.old, "to": one.new}
            for one in reversed(history.swaps(1000))
            if one.at >= since
        ],
        "failures": [
            {"at": one.at, "model": one.model, "summary": one.summary, "hint": one.hint}
            for one in reversed(history.failures(1000))
            if one.at >= since
        ],
        "traffic": [
            {
                "at": one.minute * 60,
                "model": one.model,
                "requests": one.requests,
                "errors": one.errors,
                "tokens_in": one.tokens_in,
                "tokens_out": one.tokens_out,
            }
            for one in history.traffic(int(since // 60), bucket)
        ],
    }


def lanes(moves: Iterable[RecordedMove], since: float, now: float) -> dict[str, list[dict[str, Any]]]:
    """Each model's states over time, without those in which it is simply stopped; oldest first."""
    open_: dict[str, tuple[str, str, float]] = {}
    found: dict[str, list[dict[str, Any]]] = {}

    def close(model: str, at: float) -> None:
        state, cause, began = open_.pop(model)
        if state != "stopped" and at > since:
            span = {"state": state, "cause": cause, "from": max(began, since), "to": at}
            found.setdefault(model, []).append(span)

    last = since
    for move in moves:
        if not move.model:  # hotseat was started: what it had left unfinished ended with it
            for model in list(open_):
                close(model, max(last, open_[model][2]))
            continue
        if move.model in open_:
            close(move.model, move.at)
        open_[move.model] = move.state, move.cause, move.at
        last = move.at
    for model in list(open_):
        close(model, now)
    return found
