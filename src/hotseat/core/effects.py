"""Orders from the core: imperative, frozen, carried out by the supervisor and by nobody else."""

from __future__ import annotations

from dataclasses import dataclass

from hotseat.core.errors import Reason, Refusal
from hotseat.core.states import Cause, State


@dataclass(slots=True)
class GrantLease:
    """Give this request a lease on this run."""

    request: int
    model: str
    run: int


@dataclass(slots=True)
class RefuseRequest:
    """Tell this request no, and why."""

    request: int
    refusal: Refusal


@dataclass(slots=True)
class BreakLease:
    """The run behind this lease has gone."""

    request: int
    model: str
    run: int
    reason: Reason


@dataclass(slots=True)
class StartRun:
    """Launch the model and probe it until it is ready."""

    model: str
    run: int


@dataclass(slots=True)
class StartDownload:
    """Download the model's files; report how it ended, unless it is told to stop."""

    model: str
    download: int


@dataclass(slots=True)
class StopDownload:
    """End the download; what is there is kept, and nothing is reported."""

    model: str
    download: int


@dataclass(slots=True)
class StopRun:
    """Stop the run, by force after its grace; report its exit."""

    model: str
    run: int


@dataclass(slots=True)
class SleepRun:
    """Put the run to sleep and report what it still takes."""

    model: str
    run: int


@dataclass(slots=True)
class WakeRun:
    """Wake the run, warm it up, and probe it."""

    model: str
    run: int


@dataclass(slots=True)
class ReportMove:
    """A model moved: for logs, events, metrics and history."""

    model: str
    run: int | None
    old: State
    new: State
    cause: Cause
    reason: Reason | None = None
    took_s: float | None = None
    """How long it was in the old state."""
    needed_by: str | None = None
    """On evictions: the model that needs the room."""


Effect = (
    GrantLease
    | RefuseRequest
    | BreakLease
    | StartDownload
    | StopDownload
    | StartRun
    | StopRun
    | SleepRun
    | WakeRun
    | ReportMove
)
