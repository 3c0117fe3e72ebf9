"""Snapshots of the core's state for others: frozen, safe to keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hotseat.core.errors import Reason
from hotseat.core.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The address of a ready run, as the gateway sees it."""

    model: str
    run: int
    host: str
    port: int
    replicas: tuple[tuple[str, int], ...] = ()
    """Host and port of each replica, this address among them; empty where there is one only."""
    base_path: str = ""
    """Prefix of every path there, without a trailing slash (``url:`` may have one)."""
    impostor: Callable[[], str | None] | None = field(default=None, compare=False, repr=False)
    """Says who listens there instead of the run; asked after each connection, before a byte is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a download, in bytes."""

    percent: int
    left_s: float | None
    """Estimated seconds left at the present speed; ``None`` before the first byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """Progress of a model, as told to a waiting client."""

    model: str
    state: State
    phase: str
    """``queued``, ``making room``, ``starting``, ``loading weights``, ``compiling``, …"""
    elapsed_s: float
    """Seconds since this request began to wait."""
    eta_s: float | None = None
    """Estimated seconds until ready, from earlier starts; ``None`` until there is data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """A snapshot of one model."""

    model: str
    state: State
    run: int | None
    since: float
    """Time at which it entered this state, on the core's clock."""
    in_flight: int
    waiting: int
    footprint: Mapping[str, int]
    """GPU memory counted for it now, in ppm by device."""
    requested: bool
    """Whether an operator waits for it to be ready."""
    starts: int
    last_start_s: float | None
    """Seconds from the last start to the passed probe."""
    start_cost_s: float | None
    """Expected seconds of a start: the moving average of measured ones."""
    failures: int
    """Failed starts and crashes in a row."""
    backoff_until: float | None
    reason: Reason | None
    """Why it failed or ended last; ``None``: it did not."""
    last_used: float | None
    idle_at: float | None
    """When it is stopped for being idle if nobody uses it until then, in the core's time."""
    idle_stops: int
    evictions: int
