"""Figures of benchmark results: names, units, which direction is better, and quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that can be compared and limited."""

    name: str
    title: str
    unit: str
    """``s``, or ``/s`` for a rate."""
    more_is_better: bool = False
    compared: bool = False
    """``--compare`` looks at it. High quantiles are left out: with few runs they are mostly noise."""


FIGURES = {
    one.name: one
    for one in (
        Figure("start_p50", "start, median", "s", compared=True),
        Figure("start_p95", "start, 95th percentile", "s"),
        Figure("start_p99", "start, 99th percentile", "s"),
        Figure("tokens_per_s", "tokens per second, all streams together", "/s", True, compared=True),
        Figure("stream_tokens_per_s", "tokens per second of one stream, median", "/s", True),
        Figure("ttft_p50", "time to first token, median", "s", compared=True),
        Figure("ttft_p95", "time to first token, 95th percentile", "s"),
        Figure("ttft_p99", "time to first token, 99th percentile", "s"),
        Figure("itl_p50", "inter-token latency, median", "s", compared=True),
        Figure("itl_p95", "inter-token latency, 95th percentile", "s"),
        Figure("itl_p99", "inter-token latency, 99th percentile", "s"),
    )
}
"""By the names that results, comparisons and service levels use."""


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies, interpolated linearly between two of them.

    Raises ``ValueError`` for no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def quantiles(name: str, values: Sequence[float]) -> dict[str, float]:
    """``NAME_p50``, ``NAME_p95`` and ``NAME_p99``; empty for no values."""
    if not values:
        return {}
    return {f"{name}_p{percent}": round(quantile(values, percent / 100), 6) for percent in (50, 95, 99)}


def format_figure(name: str, value: float) -> str:
    """A figure with its unit, for people: ``1.24 s``, ``38 ms``, ``97.1/s``."""
    unit = FIGURES[name].unit
    if unit != "s":
        return f"{value:.1f}{unit}"
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def compared(figures: Mapping[str, float]) -> list[str]:
    """The names of the figures that ``--compare`` looks at."""
    return [name for name, one in FIGURES.items() if one.compared and name in figures]
