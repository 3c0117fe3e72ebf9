"""What ``hotseat top`` shows, made from ``/stats``: plain text, without a terminal."""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from hotseat.commands._table import one_line
from hotseat.commands.status import IDLE, LOADING, ago

HEAD = ("MODEL", "STATE", "GPU", "RUN", "WAIT", "REQ", "TOK/S", "LAST HIT", "WHAT")
SMOOTHED_S = 15.0
"""Tokens a second are an average over so long: a server tells its tokens when an answer ends."""

LEAVING = ("draining", "stopping", "suspending")

Stats = Mapping[str, Any]


class RequestRates:
    """Tokens a second, from what was told one after the other."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def note(self, stats: Stats, now: float) -> dict[str, float]:
        """Take note of one answer, told at ``now`` (seconds); the pace of each model."""
        paces = {}
        for name, model in _models(stats).items():
            seen = self._seen.setdefault(name, deque())
            tokens = int(model.get("tokens_out") or 0)
            if seen and tokens < seen[-1][1]:  # hotseat was restarted
                seen.clear()
            seen.append((now, tokens))
            while len(seen) > 2 and now - seen[0][0] > SMOOTHED_S:
                seen.popleft()
            passed = now - seen[0][0]
            paces[name] = (tokens - seen[0][1]) / passed if passed > 0 else 0.0
        return paces


def rows(stats: Stats, paces: Mapping[str, float], now: datetime.datetime) -> list[tuple[str, ...]]:
    """A row for each model, under ``HEAD``."""
    return [
        (
            one_line(name),
            str(model.get("state", "?")),
            _share(model.get("footprint") or {}),
            str(model.get("in_flight", 0)),
            str(model.get("waiting", 0)),
            str(model.get("requests", 0)),
            f"{paces.get(name, 0.0):.1f}",
            ago(model.get("last_hit"), now) or "-",
            one_line(what(model, waits_for(name, _models(stats)))),
        )
        for name, model in _models(stats).items()
    ]


def waits_for(name: str, models: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a model that is wanted has no seat yet; empty for one that has, or is not wanted."""
    model = models[name]
    if model.get("state") not in IDLE or not (model.get("waiting") or model.get("requested")):
        return ""
    others = {other: one for other, one in models.items() if other != name and one.get("footprint")}
    going = [other for other, one in others.items() if one.get("state") in LEAVING]
    if going:
        return f"waits until {', '.join(going)} has gone"
    return f"waits for the turn of {', '.join(others)} to end" if others else "waits for its turn"


def what(model: Mapping[str, Any], waiting: str = "") -> str:
    """What a model is doing or waiting for, with the time that is left where that is known."""
    state, move = str(model.get("state")), model.get("last_move") or {}
    words = []
    if state in LEAVING and move.get("needed_by"):
        words.append(f"makes room for {move['needed_by']}")
    phase = model.get("phase")
    if phase is not None and phase != state:
        words.append(str(phase))
    elif waiting:
        words.append(waiting)
    eta = model.get("eta_s")
    if eta is not None and (state in LOADING or model.get("waiting")):
        words.append(f"about {eta:.0f} s left" if state in LOADING else f"a start takes about {eta:.0f} s")
    if model.get("retry_in_s") is not None:
        words.append(f"tried again in {model['retry_in_s']:.0f} s")
    error = model.get("last_error")
    if state == "backoff" and error:
        words.append(f"{error.get('summary')}")
    return ", ".join(words)


def budget(stats: Stats, width: int) -> list[str]:
    """A line for each GPU: what is counted against the budget, and what the driver says."""
    told = {str(gpu.get("device")): gpu for gpu in stats.get("gpus") or []}
    allowed: Mapping[str, float] = stats.get("budget") or {}
    lines = []
    for device in sorted({*allowed, *told}):
        share = sum((model.get("footprint") or {}).get(device, 0.0) for model in _models(stats).values())
        most = allowed.get(device, 0.0)
        words = (
            f"GPU {device}  {_bar(share, most, min(24, max(4, width // 5)))}  {share:.0%} of {most:.0%} taken"
        )
        if (gpu := told.get(device)) is not None:
            words += f"  {gpu['used_mib'] / 1024:.1f}/{gpu['total_mib'] / 1024:.1f} GiB used"
            if gpu.get("busy_percent") is not None:
                words += f"  {gpu['busy_percent']}% busy"
            words += f"  {gpu.get('name', '')}"
        lines.append(one_line(words))
    return lines


def failures(stats: Stats, most: int) -> list[str]:
    """The latest failures, newest first."""
    lines = []
    for one in list(stats.get("failures") or [])[:most]:
        at = str(one.get("at", ""))[11:19]
        hint = f" ({one['hint']})" if one.get("hint") else ""
        lines.append(one_line(f"{at} {one.get('model')} {one.get('cause')}: {one.get('summary')}{hint}"))
    for name, why in (stats.get("unusable_runtimes") or {}).items():
        lines.insert(0, one_line(f"the runtime {name} cannot work now: {why}"))
    return lines


def total(stats: Stats, paces: Mapping[str, float]) -> str:
    """One line of everything together."""
    models: Sequence[Mapping[str, Any]] = list(_models(stats).values())
    running = sum(int(model.get("in_flight", 0)) for model in models)
    waiting = sum(int(model.get("waiting", 0)) for model in models)
    asked = sum(int(model.get("requests", 0)) for model in models)
    pace = sum(paces.values())
    return f"{running} running  {waiting} waiting  {asked} requests  {pace:.1f} tokens/s"


def _models(stats: Stats) -> Mapping[str, Mapping[str, Any]]:
    models: Mapping[str, Mapping[str, Any]] = stats.get("models") or {}
    return models


def _share(footprint: Mapping[str, float]) -> str:
    if not footprint:
        return "-"
    if list(footprint) == ["0"]:
        return f"{footprint['0']:.0%}"
    return " ".join(f"{device}:{share:.0%}" for device, share in footprint.items())


def _bar(share: float, most: float, cells: int) -> str:
    """``share`` of the whole GPU, with a mark where the budget ends."""
    full = min(cells, round(share * cells))
    bar = ["█"] * full + ["░"] * (cells - full)
    mark = round(most * cells)
    return "".join([*bar[:mark], "│", *bar[mark:]]) if 0 < mark < cells else "".join(bar)
