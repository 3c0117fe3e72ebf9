"""Whether results are good enough: against the last accepted ones, and against service levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hotseat.bench.figures import MEASURES, compared
from hotseat.bench.results import BenchResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One figure, judged."""

    result: BenchResult
    measure: str
    value: float
    limit: float
    """What it is held against: the accepted value, or the service level."""
    ok: bool
    change: float | None = None
    """Against the accepted value: 0.1 is ten percent more."""


def against(accepted: BenchResult, latest: BenchResult, tolerance: float) -> list[Verdict]:
    """Each compared figure that both have; worse by more than ``tolerance`` (0.1: ten percent) fails."""
    verdicts = []
    for name in compared(latest.figures):
        old = accepted.figures.get(name)
        if not old:
            continue
        new = latest.figures[name]
        change = new / old - 1
        worse = -change if MEASURES[name].more_is_better else change
        verdicts.append(
            Verdict(result=latest, measure=name, value=new, limit=old, ok=worse <= tolerance, change=change)
        )
    return verdicts


def differences(accepted: BenchResult, latest: BenchResult) -> list[str]:
    """What else has changed since, in words: hotseat, image, command."""
    return [
        f"{name} was {_told(accepted.launch.get(name))}, is {_told(latest.launch.get(name))}"
        for name in ("hotseat", "image", "command")
        if accepted.launch.get(name) != latest.launch.get(name)
    ]


def _told(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def levels(result: BenchResult, limits: Mapping[str, float]) -> list[Verdict]:
    """Each service level that this result has a figure for."""
    verdicts = []
    for name, limit in limits.items():
        value = result.figures.get(name)
        if value is None:
            continue
        ok = value >= limit if MEASURES[name].more_is_better else value <= limit
        verdicts.append(Verdict(result=result, measure=name, value=value, limit=limit, ok=ok))
    return verdicts
