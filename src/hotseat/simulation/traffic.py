"""Traffic for a simulated box: what is asked when, by whom, and what starts and stops cost there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hotseat.core.spec import SchedulerSpec


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """One request that comes whatever happened to others (open loop)."""

    at_s: float
    model: str
    service_s: float
    """How long its answer takes once it has its lease."""
    key: str = ""


@dataclass(frozen=True, slots=True)
class ClosedLoopClient:
    """A client that asks again when it has its answer (closed loop)."""

    model: str
    service_s: float
    think_s: float = 0.0
    """Its pause between an answer and the next request."""
    key: str = ""
    begins_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SwapCost:
    """What a model's life takes, in seconds."""

    start_s: float
    stop_s: float = 1.0
    sleep_s: float = 1.0
    wake_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A box, its models' costs, and its traffic."""

    name: str
    about: str
    scheduler: SchedulerSpec
    costs: Mapping[str, SwapCost]
    duration_s: float
    """Nobody asks anything new after that."""
    asks: tuple[SimulatedRequest, ...] = ()
    """In the order of time."""
    agents: tuple[ClosedLoopClient, ...] = ()
