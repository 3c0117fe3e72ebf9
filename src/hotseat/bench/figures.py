"""What runs come to: medians and other quantiles, by name, each with its unit and its good direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that can be compared and limited."""

    name: str
    words: str
    unit: str
    more_is_better: bool = False
    compared: bool = False
    """``--compare`` looks at it: quantiles at the edge of few runs are too much luck."""


MEASURES = {
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
        Figure("itl_p50", "between two tokens, median", "s", compared=True),
        Figure("itl_p95", "between two tokens, 95th percentile", "s"),
        Figure("itl_p99", "between two tokens, 99th percentile", "s"),
    )
}
"""By name, as results, comparisons and service levels call them."""


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies, between two of them in proportion.

    Raises ``ValueError`` where there are none.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def quantiles(name: str, values: Sequence[float]) -> dict[str, float]:
    """``NAME_p50``, ``_p95`` and ``_p99``; empty where there are no values."""
    if not values:
        return {}
    return {f"{name}_p{percent}": round(quantile(values, percent / 100), 6) for percent in (50, 95, 99)}


def told(name: str, value: float) -> str:
    """A figure with its unit, as a person reads it: ``1.24 s``, ``38 ms``, ``97.1/s``."""
    unit = MEASURES[name].unit
    if unit != "s":
        return f"{value:.1f}{unit}"
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def compared(figures: Mapping[str, float]) -> list[str]:
    """The names of those that are compared."""
    return [name for name, one in MEASURES.items() if one.compared and name in figures]
