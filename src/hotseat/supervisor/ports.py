"""Dependencies handed to the supervisor at construction: drivers, observers and the environment."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hotseat.core import effects as do
from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec
from hotseat.core.views import Progress
from hotseat.engines.base import Engine
from hotseat.runtimes.base import Handle
from hotseat.telemetry.history import RecordedStart, StartKind

ReadinessProbe = Callable[[ModelSpec, Handle, asyncio.Event], Awaitable[str | None]]
"""Returns when the server answers for this run, with its host (``None``: the handle's). Setting the event
makes it probe at once."""
HealthCheck = Callable[[ModelSpec, Handle], Awaitable[str | None]]
"""Checks a ready run once, with a time-out of its own: what is wrong with it, ``None`` when it answers."""
MemoryCheck = Callable[[ModelSpec], Awaitable[Reason | None]]
"""Waits until the GPU memory that the model needs is really free; a reason when it does not become free."""


HostMemoryCheck = Callable[[ModelSpec], Reason | None]
"""Checks that the host memory that a model takes while it stands by is available; a reason if it is not."""


def _enough(model: ModelSpec) -> Reason | None:
    """Take the host's memory for unlimited."""
    return None


async def _read_nothing(model: ModelSpec) -> None:
    """Leave the weights on the disk."""


class Sleeper(Protocol):
    """Puts servers to sleep and wakes them."""

    async def sleep(self, model: ModelSpec, handle: Handle) -> Mapping[str, int] | None:
        """Put a server to sleep; returns the GPU memory that it still takes (ppm by device) where measured.

        Raises ``SleepError``.
        """

    async def wake(self, model: ModelSpec, handle: Handle) -> None:
        """Wake a server and warm it up; returns when it answers. Raises ``SleepError``."""

    async def asleep(self, handle: Handle) -> bool:
        """Whether the server says that it sleeps; false where it cannot be asked."""


class WeightFiles(Protocol):
    """The files that models need before they are started (``weights.downloads``)."""

    async def are_here(self, model: ModelSpec) -> bool:
        """Whether nothing has to be downloaded."""

    async def download(self, model: ModelSpec, tell: Callable[[Progress], None]) -> Reason | None:
        """Download what is missing; returns why that failed. Stops everything when cancelled."""


@runtime_checkable
class MeasuresFiles(Protocol):
    """Files whose arrival on the disk can be watched."""

    async def arrived_bytes(self, model: ModelSpec) -> int | None:
        """Bytes of the model's files that are there while some are missing; ``None``: none is missing."""


class StartHistory(Protocol):
    """Durations of earlier starts (``telemetry.history``)."""

    def record_start(self, start: RecordedStart) -> None:
        """Record a start that succeeded."""

    def eta_s(self, model: str, kind: StartKind = StartKind.COLD) -> float | None:
        """Expected seconds of such a start; ``None`` until there is data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """Operations on servers and their files beyond what their runtime does."""

    engine_of: Callable[[ModelSpec], Engine]
    probe: ReadinessProbe
    check: HealthCheck
    memory_free: MemoryCheck
    sleeper: Sleeper
    files: WeightFiles
    host_memory_free: HostMemoryCheck = _enough
    read_ahead: Callable[[ModelSpec], Awaitable[object]] = _read_nothing
    """Reads a model's weights into the page cache while it stands by."""


def _ignore(*event: object) -> None:
    """Observe nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observers:
    """Callbacks for what happens. None of them may raise."""

    starts: StartHistory
    on_move: Callable[[do.ReportMove], None] = _ignore
    """Called with each transition."""
    on_phase: Callable[[str, int, str], None] = _ignore
    """Called with the model, run and name of each phase of a start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Time of day and randomness, which tests replace. Durations are on the event loop's clock."""

    wall_clock: Callable[[], float] = time.time
    """Seconds since 1970, for the history and for schedules."""
    jitter: Callable[[], float] = random.random
    """A number in 0…1 that spreads back-offs."""
