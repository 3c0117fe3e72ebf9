"""Content of ``hotseat top``, derived from ``/stats``: plain text, without a terminal."""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import Mapping

from hotseat.admin.schema import GpuStatus, ModelStatus, StatsResponse
from hotseat.commands._describe import LEAVING, LOADING, ago, blocked_by, is_queued
from hotseat.commands._output import one_line

HEAD = ("MODEL", "STATE", "GPU", "RUN", "WAIT", "REQ", "TOK/S", "LAST HIT", "DETAIL")
SERVING = ("ready", "draining")
"""States in which answers are made."""
AVERAGED_OVER_S = 15.0
"""Tokens per second are an average over this long: a server reports its tokens when an answer ends."""


class TokenRates:
    """Tokens per second of each model, from one response to the next."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[tuple[float, int]]] = {}
        """Of each model: times (monotonic seconds), and tokens since hotseat started."""
        self._finished: dict[str, int] = {}
        """Of each model: tokens of answers that had ended."""

    def add(self, models: Mapping[str, ModelStatus], now: float) -> dict[str, float]:
        """Take a sample at ``now`` (monotonic seconds); returns the rate of each model."""
        rates = {}
        for name, model in models.items():
            samples = self._samples.setdefault(name, deque())
            tokens = model.tokens_out + model.tokens_under_way
            if model.state not in SERVING or (samples and model.tokens_out < self._finished.get(name, 0)):
                samples.clear()  # it has stopped, or hotseat was restarted
            self._finished[name] = model.tokens_out
            samples.append((now, tokens))
            while len(samples) > 2 and now - samples[0][0] > AVERAGED_OVER_S:
                samples.popleft()
            elapsed = now - samples[0][0]
            # What was under way is an estimate: its end may correct it downwards.
            rates[name] = max(0.0, (tokens - samples[0][1]) / elapsed) if elapsed > 0 else 0.0
        return rates

    def __len__(self) -> int:
        """Number of samples held, of all models together."""
        return sum(map(len, self._samples.values()))


def rows(
    models: Mapping[str, ModelStatus], rates: Mapping[str, float], now: datetime.datetime
) -> list[tuple[str, ...]]:
    """A row for each model, below ``HEAD``."""
    return [
        (
            one_line(name),
            model.state,
            _share(model.footprint),
            str(model.in_flight),
            str(model.waiting),
            str(model.requests),
            _rate(model, rates.get(name, 0.0)),
            ago(model.last_hit, now) or "-",
            one_line(detail(model, blocked_by(name, models))),
        )
        for name, model in models.items()
    ]


def _rate(model: ModelStatus, rate: float) -> str:
    """Tokens per second; nothing for a model that cannot make any now."""
    return f"{rate:.1f}" if model.state in SERVING else "-"


def detail(model: ModelStatus, blocker: str) -> str:
    """The activity of a model, or what it waits for, with the time left where that is known."""
    parts = []
    if model.state in LEAVING and model.last_move and model.last_move.needed_by:
        parts.append(f"making room for {model.last_move.needed_by}")
    if model.phase is not None and model.phase != model.state:
        parts.append(model.phase)
    elif is_queued(model):
        parts += ["queued", *([blocker] if blocker else [])]
    if model.eta_s is not None:
        if model.state in LOADING:
            parts.append(f"about {model.eta_s:.0f} s left")
        elif model.waiting:
            parts.append(f"start takes about {model.eta_s:.0f} s")
    if model.retry_in_s is not None:
        parts.append(f"next try in {model.retry_in_s:.0f} s")
    if model.state == "backoff" and model.last_error:
        parts.append(model.last_error.summary)
    return "; ".join(parts)


def budget(stats: StatsResponse, width: int) -> list[str]:
    """A line for each GPU: the share that models take of the budget, and what the driver reports."""
    gpus = {gpu.device: gpu for gpu in stats.gpus}
    lines = []
    for device in sorted({*stats.budget, *gpus}):
        taken = sum(model.footprint.get(device, 0.0) for model in stats.models.values())
        limit = stats.budget.get(device, 0.0)
        bar = _bar(taken, limit, min(24, max(4, width // 5)))
        line = f"GPU {device}  {bar}  {taken:.0%} of {limit:.0%} taken"
        lines.append(one_line(line + _driver(gpus.get(device))))
    return lines


def _driver(gpu: GpuStatus | None) -> str:
    if gpu is None:
        return ""
    busy = "" if gpu.busy_percent is None else f"  {gpu.busy_percent}% busy"
    return f"  {gpu.used_mib / 1024:.1f}/{gpu.total_mib / 1024:.1f} GiB used{busy}  {gpu.name}"


def failures(stats: StatsResponse, most: int) -> list[str]:
    """Unusable runtimes, then the latest failures, newest first."""
    lines = [f"runtime {name} cannot be used: {why}" for name, why in stats.unusable_runtimes.items()]
    for one in stats.failures[:most]:
        hint = f" ({one.hint})" if one.hint else ""
        lines.append(f"{one.at[11:19]} {one.model} {one.cause}: {one.summary}{hint}")
    return [one_line(line) for line in lines]


def total(models: Mapping[str, ModelStatus], rates: Mapping[str, float]) -> str:
    """All models together, in one line."""
    running = sum(model.in_flight for model in models.values())
    waiting = sum(model.waiting for model in models.values())
    requests = sum(model.requests for model in models.values())
    tokens = sum(rate for name, rate in rates.items() if models[name].state in SERVING)
    return f"{running} running  {waiting} waiting  {requests} requests  {tokens:.1f} tokens/s"


def _share(footprint: Mapping[str, float]) -> str:
    if not footprint:
        return "-"
    if list(footprint) == ["0"]:
        return f"{footprint['0']:.0%}"
    return " ".join(f"{device}:{share:.0%}" for device, share in footprint.items())


def _bar(taken: float, limit: float, cells: int) -> str:
    """``taken`` as a share of the whole GPU, with a mark where the budget ends."""
    full = min(cells, round(taken * cells))
    bar = ["█"] * full + ["░"] * (cells - full)
    mark = round(limit * cells)
    return "".join([*bar[:mark], "│", *bar[mark:]]) if 0 < mark < cells else "".join(bar)
