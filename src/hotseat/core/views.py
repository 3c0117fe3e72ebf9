"""What others may see of the core's state: frozen snapshots, safe to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hotseat.core.errors import Reason
from hotseat.core.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The address of a ready run, as the gateway sees it."""

    model: str
    run: int
    host: str
    port: int
    base_path: str = ""
    """A prefix of every path there, without a slash at its end (``url:`` may have one)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a download is."""

    percent: int
    left_s: float | None
    """As long as it goes on as fast; ``None``: nothing came yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """What a waiting client is told."""

    model: str
    state: State
    phase: str
    """``queued``, ``making room``, ``starting``, ``loading weights``, ``compiling``, …"""
    elapsed_s: float
    """Since this request began to wait."""
    eta_s: float | None = None
    """Learned from earlier starts; ``None`` until there is data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """One model, as the core sees it."""

    model: str
    state: State
    run: int | None
    since: float
    """When it came into this state, in the core's time."""
    in_flight: int
    waiting: int
    footprint: Mapping[str, int]
    """GPU memory counted for it now, in ppm by device."""
    requested: bool
    """An operator waits for it to be ready."""
    starts: int
    last_start_s: float | None
    """How long the last start took until the probe passed."""
    start_cost_s: float | None
    """What a start is expected to take (moving average of measured ones)."""
    failures: int
    """Failed starts and crashes in a row."""
    backoff_until: float | None
    reason: Reason | None
    """Why it failed or ended last, if it did."""
    last_used: float | None
    idle_at: float | None
    """When it is stopped for being idle if nobody uses it until then, in the core's time."""
    idle_stops: int
    evictions: int
