"""Check results against accepted ones and against service levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hotseat.bench.figures import FIGURES, compared
from hotseat.bench.results import BenchResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One figure of a result, checked."""

    result: BenchResult
    measure: str
    value: float
    limit: float
    """The accepted value, or the service level."""
    ok: bool
    change: float | None = None
    """Relative to the accepted value: 0.1 is ten percent more. ``None`` for a service level."""


def compare(accepted: BenchResult, latest: BenchResult, tolerance: float) -> list[Verdict]:
    """Check each compared figure that both have.

    ``tolerance``: how much worse a figure may be (0.1: ten percent).
    """
    verdicts = []
    for name in compared(latest.figures):
        old = accepted.figures.get(name)
        if not old:
            continue
        new = latest.figures[name]
        change = new / old - 1
        worse = -change if FIGURES[name].more_is_better else change
        verdicts.append(
            Verdict(result=latest, measure=name, value=new, limit=old, ok=worse <= tolerance, change=change)
        )
    return verdicts


def differences(accepted: BenchResult, latest: BenchResult) -> list[str]:
    """Other things that have changed since, in words: hotseat's version, image, command."""
    return [
        f"{name} was {_text(accepted.launch.get(name))}, is {_text(latest.launch.get(name))}"
        for name in ("hotseat", "image", "command")
        if accepted.launch.get(name) != latest.launch.get(name)
    ]


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def check_levels(result: BenchResult, limits: Mapping[str, float]) -> list[Verdict]:
    """Check each service level that the result has a figure for."""
    verdicts = []
    for name, limit in limits.items():
        value = result.figures.get(name)
        if value is None:
            continue
        ok = value >= limit if FIGURES[name].more_is_better else value <= limit
        verdicts.append(Verdict(result=result, measure=name, value=value, limit=limit, ok=ok))
    return verdicts
