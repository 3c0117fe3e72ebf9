"""Effects: orders of the core, named in the imperative, carried out by the supervisor alone."""

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
    """Refuse this request, with a reason for its client."""

    request: int
    refusal: Refusal


@dataclass(slots=True)
class BreakLease:
    """Break a lease: its run has gone, or is going to be stopped."""

    request: int
    model: str
    run: int
    reason: Reason


@dataclass(slots=True)
class StartRun:
    """Launch the model and probe the run until it is ready."""

    model: str
    run: int


@dataclass(slots=True)
class PrepareRun:
    """Launch the model as far as the GPU; report when it stands by there."""

    model: str
    run: int
    kept: bool = False
    """Nobody waits for it: at a low priority."""


@dataclass(slots=True)
class AdmitRun:
    """Let a prepared run use the GPU, now or as soon as it comes to it, and probe it until it is ready."""

    model: str
    run: int


@dataclass(slots=True)
class StartDownload:
    """Download the model's files; report how the download ended, unless it was told to stop."""

    model: str
    download: int


@dataclass(slots=True)
class StopDownload:
    """Stop the download; files that are complete are kept, and nothing is reported."""

    model: str
    download: int


@dataclass(slots=True)
class StopRun:
    """Stop the run, by force after its grace period; report its exit."""

    model: str
    run: int


@dataclass(slots=True)
class SleepRun:
    """Put the run to sleep; report the GPU memory that it still takes."""

    model: str
    run: int


@dataclass(slots=True)
class WakeRun:
    """Wake the run, warm it up, and probe it."""

    model: str
    run: int


@dataclass(slots=True)
class ReportMove:
    """Report a transition: for logs, events, metrics and history."""

    model: str
    run: int | None
    old: State
    new: State
    cause: Cause
    reason: Reason | None = None
    took_s: float | None = None
    """Seconds spent in the old state."""
    needed_by: str | None = None
    """On evictions: the model that needs the memory."""


Effect = (
    GrantLease
    | RefuseRequest
    | BreakLease
    | StartDownload
    | StopDownload
    | StartRun
    | PrepareRun
    | AdmitRun
    | StopRun
    | SleepRun
    | WakeRun
    | ReportMove
)
