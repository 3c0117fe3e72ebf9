"""Traffic of a simulation: who requests which model when, and what starts and stops take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hotseat.core.spec import SchedulerSpec


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """A request that arrives regardless of others (open loop)."""

    at_s: float
    model: str
    service_s: float
    """Seconds that its response takes once it has its lease."""
    key: str = ""


@dataclass(frozen=True, slots=True)
class ClosedLoopClient:
    """A client that sends its next request after the response (closed loop)."""

    model: str
    service_s: float
    think_s: float = 0.0
    """Seconds between a response and the next request."""
    key: str = ""
    begins_s: float = 0.0
    patience_s: float | None = None
    """Seconds of waiting after which it gives up, and comes again after ``think_s``; ``None``: it stays."""


@dataclass(frozen=True, slots=True)
class SwapCost:
    """Seconds that a model takes to start, stop, sleep and wake."""

    start_s: float
    stop_s: float = 1.0
    sleep_s: float = 1.0
    wake_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A machine, what its models' starts and stops take, and its traffic."""

    name: str
    about: str
    scheduler: SchedulerSpec
    costs: Mapping[str, SwapCost]
    duration_s: float
    """Seconds after which no new requests arrive."""
    asks: tuple[SimulatedRequest, ...] = ()
    """In the order of time."""
    agents: tuple[ClosedLoopClient, ...] = ()
