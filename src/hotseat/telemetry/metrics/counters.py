"""The counters, as plain numbers: every request pays for what happens here.

Everything runs on the event loop, so there are no locks. Prometheus' metric families are made from the
numbers at each scrape (``exposition``).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hotseat.core import effects as do
from hotseat.core.errors import Code
from hotseat.core.states import FAILURES, Cause, State
from hotseat.telemetry.finished_request import FinishedRequest
from hotseat.telemetry.metrics import catalogue

KINDS = ("cold", "warm", "wake", "standby")
CUTS = ("upstream", "truncated", "gone", "internal")
USUAL_PHASES = (
    "starting",
    "starting engine",
    "loading weights",
    "compiling",
    "capturing graphs",
    "warming up",
    "starting server",
)
"""Phases of a start that have a series from the beginning: those that ``engines`` recognise."""
USUAL_CODES = (200, 400, 404, 429, 499, 500, 502, 503, 504)
"""HTTP statuses that have a series from the beginning."""
_LEAVING = frozenset({State.STOPPING, State.SUSPENDING})


class Distribution:
    """A histogram: how many values fell into each bucket, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Values in each bucket alone (not cumulative); the last bucket has no bound."""
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """Number of values added."""
        return sum(self.counts)


def _by_reason() -> dict[str, int]:
    return {str(code): 0 for code in Code}


def _waits() -> Distribution:
    return Distribution(catalogue.WAIT_BOUNDS)


def _durations() -> Distribution:
    return Distribution(catalogue.REQUEST_BOUNDS)


def _first_tokens() -> Distribution:
    return Distribution(catalogue.FIRST_TOKEN_BOUNDS)


def _inter_tokens() -> Distribution:
    return Distribution(catalogue.INTER_TOKEN_BOUNDS)


@dataclass(slots=True)
class ModelCounts:
    """One model's counters, since the start of hotseat."""

    codes: dict[int, int] = field(default_factory=lambda: dict.fromkeys(USUAL_CODES, 0))
    cuts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CUTS, 0))
    refusals: dict[str, int] = field(default_factory=_by_reason)
    bytes_in: int = 0
    bytes_out: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    waits: Distribution = field(default_factory=_waits)
    durations: Distribution = field(default_factory=_durations)
    first_tokens: Distribution = field(default_factory=_first_tokens)
    inter_tokens: Distribution = field(default_factory=_inter_tokens)
    starts: dict[str, Distribution] = field(
        default_factory=lambda: {kind: Distribution(catalogue.START_BOUNDS) for kind in KINDS}
    )
    phases: dict[str, tuple[int, float]] = field(
        default_factory=lambda: dict.fromkeys(USUAL_PHASES, (0, 0.0))
    )
    """By phase: how often it was seen, and its total seconds."""
    failures: dict[Cause, int] = field(default_factory=lambda: dict.fromkeys(sorted(FAILURES), 0))

    @property
    def requests(self) -> int:
        """Number of finished requests."""
        return sum(self.codes.values())


class Metrics:
    """All counters."""

    def __init__(self, models: Iterable[str]) -> None:
        self.models: dict[str, ModelCounts] = {}
        """Counters by model; configured models only."""
        self.unrouted: dict[str, int] = {}
        """Refusals of requests that led to no model, by error code."""
        self.swaps: dict[tuple[str, str], int] = {}
        """Evictions, by the model that left and the one that it made room for."""
        self.configure(models)

    def configure(self, models: Iterable[str]) -> None:
        """Count for these models from now on; those that stay keep their counters."""
        self.models = {name: self.models.get(name) or ModelCounts() for name in models}
        pairs = [(old, new) for old in self.models for new in self.models if old != new]
        self.swaps = {pair: self.swaps.get(pair, 0) for pair in pairs}

    def finished(self, record: FinishedRequest) -> None:
        """Count a finished request. On the hot path."""
        counts = self.models.get(record.model)
        code = record.code
        if counts is None:
            if code and not record.model:
                self.unrouted[code] = self.unrouted.get(code, 0) + 1
            return
        status = record.status
        try:
            counts.codes[status] += 1
        except KeyError:
            counts.codes[status] = 1
        if record.failed:
            counts.cuts[record.failed] = counts.cuts.get(record.failed, 0) + 1
        elif code:
            counts.refusals[code] = counts.refusals.get(code, 0) + 1
        counts.bytes_in += record.bytes_in
        counts.bytes_out += record.bytes_out
        duration_s, first_s = record.duration_s, record.first_byte_s
        counts.waits.add(record.waited_s)
        counts.durations.add(duration_s)
        tokens = record.tokens_out
        if tokens is not None:
            counts.tokens_out += tokens
            counts.tokens_in += record.tokens_in or 0
        if record.stream and first_s is not None and status == 200:
            counts.first_tokens.add(first_s)
            if tokens is not None and tokens > 1:
                counts.inter_tokens.add((duration_s - first_s) / (tokens - 1))

    def moved(self, move: do.ReportMove) -> bool:
        """Count a state transition; return whether it is a swap: one model makes room for another."""
        counts = self.models.get(move.model)
        if counts is not None and move.cause in FAILURES:
            counts.failures[move.cause] += 1
        # While it drains the eviction may still be called off; one that was suspended counted then.
        swap = move.needed_by is not None and move.new in _LEAVING and move.old is not State.SUSPENDING
        pair = (move.model, move.needed_by or "")
        if swap and pair in self.swaps:
            self.swaps[pair] += 1
        return swap

    def started(self, model: str, kind: str, seconds: float, phases: Mapping[str, float]) -> None:
        """Count a successful start; ``kind`` is one of ``KINDS``, ``phases`` are seconds by phase."""
        counts = self.models.get(model)
        if counts is None:
            return
        counts.starts[kind].add(seconds)
        for phase, phase_s in phases.items():
            times, total_s = counts.phases.get(phase, (0, 0.0))
            counts.phases[phase] = times + 1, total_s + phase_s
