"""Events: facts reported to the core, named in the past tense.

A report about a run that is no longer the model's current one is ignored: late reports of an old run
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
    """Name of the client's key; leases of one model are shared fairly between keys."""
    endpoint: str = ""
    """Path of the API that is asked. Patience is learned by key and endpoint; empty: it is not learned."""
    may_evict: bool = True
    """Whether another model may be evicted for it."""


@dataclass(slots=True)
class RequestWithdrawn:
    """A client stopped waiting for its lease."""

    request: int


@dataclass(slots=True)
class LeaseReturned:
    """The last byte of the response was sent, or the client has gone. Repeats are harmless."""

    request: int


@dataclass(slots=True)
class ProbePassed:
    """The run answers its readiness probe, after a start or a wake."""

    model: str
    run: int


@dataclass(slots=True)
class GateSeen:
    """A run of this configuration stopped at its gate: the model can be prepared from now on."""

    model: str
    fingerprint: str


@dataclass(slots=True)
class RunPrepared:
    """The run stands by; ``host_mib``: host memory that it takes, in MiB, where that was measured."""

    model: str
    run: int
    host_mib: int | None = None


@dataclass(slots=True)
class StartFailed:
    """The run could not be launched; there is nothing to stop."""

    model: str
    run: int
    reason: Reason


@dataclass(slots=True)
class FilesSeen:
    """The disk was searched for the files that the model needs."""

    model: str
    here: bool


@dataclass(slots=True)
class Downloaded:
    """This download is complete: all files are on disk."""

    model: str
    download: int


@dataclass(slots=True)
class DownloadFailed:
    """This download ended before it was complete; files that are complete are kept."""

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
    """Stopped deliberately by somebody else (``docker stop``): no crash."""


@dataclass(slots=True)
class RunUnplaced:
    """The runtime has no room for a starting run now; or has found room for it after all (no ``reason``)."""

    model: str
    run: int
    reason: Reason | None


@dataclass(slots=True)
class RunUnhealthy:
    """A ready run no longer answers (failed health checks, a hung engine)."""

    model: str
    run: int
    reason: Reason


@dataclass(slots=True)
class RunSlept:
    """The run sleeps; one that was found may have slept all along.

    ``leftover``: GPU memory that it still takes, in ppm by device, where that was measured.
    """

    model: str
    run: int
    leftover: Mapping[str, int] | None = None


@dataclass(slots=True)
class SleepFailed:
    """The run could not be put to sleep, or freed too little: it must be stopped instead."""

    model: str
    run: int
    reason: Reason


@dataclass(slots=True)
class WakeFailed:
    """The run could not be woken."""

    model: str
    run: int
    reason: Reason


@dataclass(slots=True)
class RunFound:
    """A run was found that we did not start: left by an earlier hotseat, or started by somebody else."""

    model: str
    run: int
    ready: bool
    fingerprint: str = ""
    """Fingerprint of the configuration that it was started with; empty where unknown."""
    stands_by: bool = False
    """It was prepared, and may not use the GPU yet. Excludes ``ready``."""


@dataclass(slots=True)
class RunsRecovered:
    """Every run from before our time was reported (``RunFound``): from now on models may be started."""


@dataclass(slots=True)
class StartRemembered:
    """Duration of an earlier start of the model, from the history."""

    model: str
    seconds: float


@dataclass(slots=True)
class StartObserved:
    """Evidence of how a start goes, seen from outside."""

    model: str
    run: int
    downloading: bool = False
    """More of the model's files has arrived: the start is given its time anew."""
    note: str | None = None
    """Why it may not become ready, for the error in case it does not."""


@dataclass(slots=True)
class StartRequested:
    """An operator wants the model ready now, whether it is in back-off or not."""

    model: str


@dataclass(slots=True)
class StopRequested:
    """An operator wants the model stopped."""

    model: str
    to_sleep: bool = False
    """Put to sleep instead of stopped, where the model can sleep."""


@dataclass(slots=True)
class KeepWarmChanged:
    """A schedule begins or ends keeping the model warm."""

    model: str
    warm: bool


@dataclass(slots=True)
class RuntimeChanged:
    """The runtime of these models became unusable (``why``), or usable again (``None``)."""

    models: tuple[str, ...]
    why: str | None


@dataclass(slots=True)
class SchedulerConfigured:
    """The configuration was read again."""

    scheduler: SchedulerSpec


@dataclass(slots=True)
class ShutdownRequested:
    """hotseat shuts down: it stops all models, or leaves them running."""

    leave_running: bool = False
    at_once: bool = False
    """Sent again with this: responses under way are cut, and nothing is waited for any longer."""


@dataclass(slots=True)
class TimePassed:
    """A deadline that the core asked to be woken for has come."""


Event = (
    RequestArrived
    | RequestWithdrawn
    | LeaseReturned
    | GateSeen
    | RunPrepared
    | ProbePassed
    | StartFailed
    | FilesSeen
    | Downloaded
    | DownloadFailed
    | RunExited
    | RunUnplaced
    | RunUnhealthy
    | RunSlept
    | SleepFailed
    | WakeFailed
    | RunFound
    | RunsRecovered
    | StartRemembered
    | StartObserved
    | StartRequested
    | StopRequested
    | KeepWarmChanged
    | RuntimeChanged
    | SchedulerConfigured
    | ShutdownRequested
    | TimePassed
)
