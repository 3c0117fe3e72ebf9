"""Facts told to the core: past tense, frozen, and naming the run that they speak of.

A fact about a run that is no longer the model's current one is ignored: late reports of an old run
must never be believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hotseat.core.errors import Reason
from hotseat.core.spec import SchedulerSpec


@dataclass(slots=True)
class RequestArrived:
    """A client wants a lease on a model."""

    request: int
    model: str
    priority: int = 0
    key: str = ""
    """Who asks; requests of one model are granted fairly by key."""


@dataclass(slots=True)
class RequestWithdrawn:
    """A client that waited has gone."""

    request: int


@dataclass(slots=True)
class LeaseReturned:
    """The last byte of the response has gone (or the client has). Repeats are harmless."""

    request: int


@dataclass(slots=True)
class ProbePassed:
    """The server answers for this run now (after a start or a wake)."""

    model: str
    run: int


@dataclass(slots=True)
class StartFailed:
    """The run could not be launched; there is nothing to stop."""

    model: str
    run: int
    reason: Reason


@dataclass(slots=True)
class FilesSeen:
    """Somebody looked whether the files that the model needs are on the disk."""

    model: str
    here: bool


@dataclass(slots=True)
class Downloaded:
    """The files of this download are there."""

    model: str
    download: int


@dataclass(slots=True)
class DownloadFailed:
    """The download has ended without all of them; what is there is kept."""

    model: str
    download: int
    reason: Reason


@dataclass(slots=True)
class RunExited:
    """The run has ended and its memory is free."""

    model: str
    run: int
    reason: Reason
    outside: bool = False
    """Somebody stopped it deliberately (``docker stop``): no crash."""


@dataclass(slots=True)
class RunUnhealthy:
    """A ready run does not answer any more (dead health, a hung engine)."""

    model: str
    run: int
    reason: Reason


@dataclass(slots=True)
class RunSlept:
    """The run sleeps (one that was found may have slept all along); ``leftover`` is what it still takes,
    where that was measured.
    """

    model: str
    run: int
    leftover: Mapping[str, int] | None = None


@dataclass(slots=True)
class SleepFailed:
    """The run would not sleep, or freed too little: it must be stopped instead."""

    model: str
    run: int
    reason: Reason


@dataclass(slots=True)
class WakeFailed:
    """The run would not wake."""

    model: str
    run: int
    reason: Reason


@dataclass(slots=True)
class RunFound:
    """A run was found that we did not order: left by an earlier hotseat, or started by somebody else."""

    model: str
    run: int
    ready: bool
    fingerprint: str = ""
    """Of the configuration that it was started with; empty where that is not known."""


@dataclass(slots=True)
class RunsRecovered:
    """All that ran before us has been told (``RunFound``): from now on models may be started."""


@dataclass(slots=True)
class StartRemembered:
    """What a start of the model took before our time (``history``)."""

    model: str
    seconds: float


@dataclass(slots=True)
class StartRequested:
    """An operator wants the model ready, now, backoff or not."""

    model: str


@dataclass(slots=True)
class StopRequested:
    """An operator wants the model stopped."""

    model: str
    to_sleep: bool = False
    """Asleep will do, where it sleeps at all."""


@dataclass(slots=True)
class KeepWarmChanged:
    """A schedule says that the model is to be kept warm, or no longer."""

    model: str
    warm: bool


@dataclass(slots=True)
class RuntimeChanged:
    """The runtime of these models became unusable (``why``) or usable again (``None``)."""

    models: tuple[str, ...]
    why: str | None


@dataclass(slots=True)
class SchedulerConfigured:
    """The configuration was read again."""

    scheduler: SchedulerSpec


@dataclass(slots=True)
class ShutdownRequested:
    """hotseat is to end: stop all models, or leave them running."""

    leave_running: bool = False


@dataclass(slots=True)
class TimePassed:
    """A deadline that the core asked to be woken for has come."""


Event = (
    RequestArrived
    | RequestWithdrawn
    | LeaseReturned
    | ProbePassed
    | StartFailed
    | FilesSeen
    | Downloaded
    | DownloadFailed
    | RunExited
    | RunUnhealthy
    | RunSlept
    | SleepFailed
    | WakeFailed
    | RunFound
    | RunsRecovered
    | StartRemembered
    | StartRequested
    | StopRequested
    | KeepWarmChanged
    | RuntimeChanged
    | SchedulerConfigured
    | ShutdownRequested
    | TimePassed
)
