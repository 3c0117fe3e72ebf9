"""The small protocols that the page needs from the parts that it shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hotseat.core.views import ModelView
from hotseat.telemetry.finished_request import FinishedRequest
from hotseat.telemetry.metrics import DeviceMemory
from hotseat.telemetry.recorder import Recorder
from hotseat.web.sessions import Sessions


class SeatControl(Protocol):
    """The models' states, and an operator's wish to keep one ready."""

    def views(self) -> Mapping[str, ModelView]:
        """A snapshot of every model."""

    def now(self) -> float:
        """The time in which snapshots speak (monotonic seconds)."""

    def phase(self, model: str) -> str | None:
        """The phase of a loading model."""

    def eta_s(self, model: str) -> float | None:
        """Seconds until it is ready; ``None`` until there is data."""

    def unusable(self) -> Mapping[str, str]:
        """Runtimes that cannot work now, and why."""

    def next_turn_at(self) -> float | None:
        """The end of the turn that somebody waits for; ``None``: nobody waits for one."""

    def hold(self, model: str, seconds: float) -> None:
        """Keep a model warm for so many seconds from now; 0 ends it."""

    def held_until(self, model: str) -> float | None:
        """The end of an operator's hold on the model, in Unix seconds; ``None``: there is none."""


class InFlight(Protocol):
    """A request that is being answered."""

    id: str
    key: str
    path: str
    route: str
    model: str
    phase: str
    stream: bool
    age_s: float
    waited_s: float
    first_byte_s: float | None
    bytes_in: int
    bytes_out: int


class RequestWatch(Protocol):
    """The requests to models: those that are answered now, and those that have ended."""

    def in_flight(self) -> Sequence[InFlight]:
        """Those that are being answered, oldest first."""

    def cancel(self, request_id: str) -> bool:
        """End one by cutting off its client; ``False`` if it has ended already."""

    def watch(self, watcher: Callable[[FinishedRequest], None] | None) -> None:
        """Have the record of each request told to ``watcher`` when it has ended, or (``None``) to nobody."""


class CaptureList(Protocol):
    """The debug captures that are on."""

    def told(self) -> Mapping[str, Mapping[str, Any]]:
        """By model: ``file``, ``until``, ``requests``, ``bytes``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageServices:
    """Everything that the page shows and orders, handed in by the composition root."""

    seats: SeatControl
    requests: RequestWatch
    recorder: Recorder
    sessions: Sessions
    captures: CaptureList
    devices: Callable[[], Sequence[DeviceMemory]]
    """Reads the GPUs."""
    preview: Callable[[], Awaitable[Mapping[str, Any]]]
    """What a reload would change, or its problems; changes nothing."""
    wall_clock: Callable[[], float]
    """Unix time in seconds."""
    clock: Callable[[], float]
    """Monotonic, in seconds."""
