"""Pure questions: what a swap costs, how long a turn is, which models must leave so that another fits.

The numbers are shares of the measured cost of a swap, so that they mean the same for a model that
loads in two seconds and for one that takes two minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

DEFAULT_SWAP_S = 5.0
"""Cost of a swap in seconds, before anything was measured."""
TURN = 4.0
"""A turn between equals, in swaps: four fifths of the time are then spent answering."""
TURN_MIN, TURN_MAX = 1.0, 4.25
"""Bounds of a turn that follows demand, in swaps."""
MAX_WAIT = 6.0
"""The longest wait before a turn is cut short, in swaps for each model in line."""
LINGER_MIN, LINGER_MAX = 0.125, 0.5
"""How long a quiet model keeps memory that others want, in swaps (in between: twice its usual pause).

Keeping it pays for clients in a loop, whose next request is about to come. Where people read and type
between their requests it only makes others wait: in simulated office days, keeping it for up to
a whole swap cost 30 to 40 % more waiting than giving it up at once (``hotseat simulate``).
"""
EXACT_CHOICE = 10
"""The most candidates for which all choices of victims are compared."""

Free = dict[str, int]
"""GPU memory by device, in ppm; may be negative."""

LONGEST_DOWNLOAD_S = 21_600.0
"""Longest start, in seconds, that goes on since it downloads."""


def fits(need: Mapping[str, int], free: Mapping[str, int]) -> bool:
    """Whether ``need`` fits into ``free`` on every device."""
    return all(free.get(device, 0) >= share for device, share in need.items())


def missing(need: Mapping[str, int], free: Mapping[str, int]) -> Free:
    """Shortfall of ``free`` for ``need``, in ppm by device; empty when it fits."""
    gaps = {device: share - free.get(device, 0) for device, share in need.items()}
    return {device: gap for device, gap in gaps.items() if gap > 0}


def add(free: Free, share: Mapping[str, int], sign: int = 1) -> None:
    """Add (or with ``sign=-1`` take away) ``share``, in place."""
    for device, ppm in share.items():
        free[device] = free.get(device, 0) + sign * ppm


def swap_cost_s(*start_costs_s: float | None) -> float:
    """Seconds that a swap between these models takes: the average of the start costs that are known."""
    known = [cost for cost in start_costs_s if cost is not None]
    return max(sum(known) / len(known), 0.01) if known else DEFAULT_SWAP_S


def turn_s(swap_s: float, demand: int, others: int) -> float:
    """Seconds that a model in use keeps its memory while ``others`` wait; longer with more clients."""
    share = 2 * demand / (demand + others) if demand + others else 1.0
    return swap_s * min(max(TURN * share, TURN_MIN), TURN_MAX)


def linger_s(swap_s: float, pause_s: float | None) -> float:
    """Seconds that a quiet model keeps its memory while others wait, by its usual pause between requests."""
    low, high = LINGER_MIN * swap_s, LINGER_MAX * swap_s
    if pause_s is None:
        return low
    return max(2 * pause_s, low) if 2 * pause_s <= high else 0.0


def max_wait_s(swap_s: float, contenders: int) -> float:
    """Seconds that a request waits before a turn is cut short, with so many models in line."""
    return MAX_WAIT * swap_s * max(1, contenders)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may be evicted now."""

    model: str
    frees: Mapping[str, int]
    """GPU memory in ppm by device."""
    cost: float
    """Cost of its leaving; 0 for one that leaves already."""


def eviction_cost(restart_s: float, quiet_s: float, demand: int) -> float:
    """Cost of an eviction: grows with the restart time and with use, falls with the time of quiet."""
    return restart_s * (1 + demand) / (1 + quiet_s / max(restart_s, 1.0)) + 1e-6


def choose_victims(gap: Mapping[str, int], candidates: Sequence[Candidate]) -> tuple[str, ...] | None:
    """The cheapest set of candidates that frees ``gap``; ``None`` where all of them together do not.

    Exact for up to ``EXACT_CHOICE`` candidates; beyond, the cheapest first, less those not needed in the end.
    """
    useful = [c for c in candidates if any(c.frees.get(device, 0) > 0 for device in gap)]
    if not _fills(gap, useful):
        return None
    if len(useful) <= EXACT_CHOICE:
        choices = (victims for size in range(1, len(useful) + 1) for victims in combinations(useful, size))
        best = min(
            (victims for victims in choices if _fills(gap, victims)),
            key=lambda victims: (sum(c.cost for c in victims), len(victims), [c.model for c in victims]),
        )
        return tuple(c.model for c in best)
    chosen: list[Candidate] = []
    for candidate in sorted(useful, key=lambda c: (c.cost, c.model)):
        chosen.append(candidate)
        if _fills(gap, chosen):
            break
    for candidate in reversed(chosen[:]):
        rest = [c for c in chosen if c is not candidate]
        if _fills(gap, rest):
            chosen = rest
    return tuple(c.model for c in chosen)


def _fills(gap: Mapping[str, int], victims: Iterable[Candidate]) -> bool:
    freed: Free = {}
    for candidate in victims:
        add(freed, candidate.frees)
    return fits(gap, freed)


BACKOFF_FIRST_S, BACKOFF_MAX_S, JITTER = 1.0, 60.0, 0.25
EQUAL_FAILURES = 3
"""Starts that failed in a row for the same reason, from which on clients are told not to wait."""


def backoff_s(earlier: int, jitter: float) -> float:
    """Seconds of back-off after ``earlier`` ones in a row; ``jitter`` in 0…1 spreads them.

    Never more than ``BACKOFF_MAX_S``, which clients are told in ``Retry-After``: a longer one is not obeyed.
    """
    spread_s = float(BACKOFF_FIRST_S * 2 ** min(earlier, 10)) * (1 + JITTER * jitter)
    return min(spread_s, BACKOFF_MAX_S)
