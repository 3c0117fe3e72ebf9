"""The states of a model, their named groups, and the table of legal transitions.

``TRANSITIONS`` is keyed by state and by cause: a transition that is not in the table raises
``IllegalTransition``. The diagram and the table in ``docs/design.md`` are generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """Lifecycle state of a model."""

    STOPPED = "stopped"
    DOWNLOADING = "downloading"  # files are fetched before the first start; no run, no GPU memory
    PREPARING = "preparing"  # started as far as the GPU, which it may not use yet: no GPU memory
    STANDBY = "standby"  # waits there for its turn
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"  # no new leases; those held run to their end, or to the drain deadline
    STOPPING = "stopping"  # told to stop; its memory counts until the exit is confirmed
    SUSPENDING = "suspending"  # told to sleep; its memory counts until sleep is confirmed
    ASLEEP = "asleep"
    WAKING = "waking"
    BACKOFF = "backoff"  # failed; not tried again before a deadline


class Cause(StrEnum):
    """Cause of a transition. Every transition has one; logs, events and metrics use these words."""

    DEMAND = "demand"
    REQUESTED = "requested"  # by an operator, through the admin API
    PRELOAD = "preload"  # kept warm by the configuration
    ADOPTED = "adopted"  # found running
    DOWNLOADED = "downloaded"
    DOWNLOAD_FAILED = "download_failed"
    KEPT = "kept"  # prepared again after it has left, for the next request
    PREPARED = "prepared"
    PREPARE_FAILED = "prepare_failed"  # started plainly when its turn comes
    PROBE_PASSED = "probe_passed"
    START_FAILED = "start_failed"
    START_TIMEOUT = "start_timeout"
    ABANDONED = "abandoned"  # nobody waits for this start any more, and others need the memory
    IDLE = "idle"
    EVICTED = "evicted"
    CALLED_OFF = "called_off"  # the eviction is no longer needed, and nothing was told to stop yet
    DRAINED = "drained"
    DRAIN_DEADLINE = "drain_deadline"
    SLEPT = "slept"
    SLEEP_FAILED = "sleep_failed"
    WAKE_FAILED = "wake_failed"
    UNHEALTHY = "unhealthy"
    CRASHED = "crashed"
    EXITED = "exited"  # an ordered stop, confirmed
    STOPPED_OUTSIDE = "stopped_outside"  # stopped deliberately by somebody else
    COOLED_DOWN = "cooled_down"
    CONFIGURED = "configured"  # the configuration changed
    SHUTDOWN = "shutdown"


HOLDS_RUN = frozenset(
    {
        State.PREPARING,
        State.STANDBY,
        State.STARTING,
        State.READY,
        State.DRAINING,
        State.STOPPING,
        State.SUSPENDING,
        State.ASLEEP,
        State.WAKING,
    }
)
"""States in which a model has a run, and so holds GPU memory, except for those that stand by."""

STANDS_BY = frozenset({State.PREPARING, State.STANDBY})
"""States in which a run holds host memory and no GPU memory, because nothing has let it use the GPU yet."""

HOLDS_LEASES = frozenset({State.READY, State.DRAINING})
"""States in which leases may be held."""

LOADING = frozenset({State.STARTING, State.WAKING})
"""States that end in READY when all goes well."""

LEAVING = frozenset({State.DRAINING, State.STOPPING, State.SUSPENDING})
"""States in which a model gives up memory that it still holds."""

FAILURES = frozenset(
    {
        Cause.DOWNLOAD_FAILED,
        Cause.START_FAILED,
        Cause.START_TIMEOUT,
        Cause.CRASHED,
        Cause.UNHEALTHY,
        Cause.WAKE_FAILED,
        Cause.SLEEP_FAILED,
    }
)
"""Causes that say that a run did not do what it should. Each failure has one transition with such a cause."""

Row = Mapping[Cause, frozenset[State]]
"""The transitions out of one state, by cause."""


def _row(*transitions: tuple[tuple[Cause, ...], tuple[State, ...]]) -> Row:
    """The row of one state. Raises ``ValueError`` where a cause is named twice."""
    row: dict[Cause, frozenset[State]] = {}
    for causes, states in transitions:
        for cause in causes:
            if cause in row:
                raise ValueError(f"{cause} is named twice")
            row[cause] = frozenset(states)
    return row


_WANTED = (Cause.DEMAND, Cause.PRELOAD)  # and REQUESTED, which is also a cause to stop
_ORDERED = (Cause.CONFIGURED, Cause.SHUTDOWN)  # and REQUESTED
_DIED = ((Cause.CRASHED,), (State.STOPPED, State.BACKOFF))  # STOPPED: the first crash after it had served
_STOPPED_OUTSIDE = ((Cause.STOPPED_OUTSIDE,), (State.STOPPED,))
# READY: known to be healthy; PREPARING: it may not use the GPU yet
_FOUND = ((Cause.ADOPTED,), (State.STARTING, State.READY, State.PREPARING))
_STANDING_BY = (
    (_WANTED, (State.STARTING,)),
    ((Cause.REQUESTED,), (State.STARTING, State.STOPPING)),
    ((Cause.PROBE_PASSED,), (State.READY,)),  # it did not wait
    ((Cause.PREPARE_FAILED,), (State.STOPPED, State.STOPPING)),  # STOPPED: its run has ended
    ((Cause.EVICTED, Cause.IDLE, *_ORDERED), (State.STOPPING,)),
    _STOPPED_OUTSIDE,
)

TRANSITIONS: Mapping[State, Row] = {
    State.STOPPED: _row(
        ((*_WANTED, Cause.REQUESTED), (State.STARTING, State.DOWNLOADING, State.PREPARING)),
        ((Cause.KEPT,), (State.PREPARING,)),
        _FOUND,
    ),
    State.PREPARING: _row(((Cause.PREPARED,), (State.STANDBY,)), *_STANDING_BY),
    State.STANDBY: _row(*_STANDING_BY),
    State.DOWNLOADING: _row(
        ((Cause.DOWNLOADED, Cause.REQUESTED, *_ORDERED), (State.STOPPED,)),
        ((Cause.DOWNLOAD_FAILED,), (State.BACKOFF,)),
        _FOUND,
    ),
    State.STARTING: _row(
        ((Cause.PROBE_PASSED,), (State.READY,)),
        ((Cause.ADOPTED,), (State.ASLEEP,)),  # a run that was found turns out to sleep
        ((Cause.START_FAILED,), (State.BACKOFF,)),
        (
            (Cause.START_TIMEOUT, Cause.SLEEP_FAILED, Cause.ABANDONED, Cause.REQUESTED, *_ORDERED),
            (State.STOPPING,),
        ),
        _STOPPED_OUTSIDE,
    ),
    State.READY: _row(
        ((Cause.EVICTED, Cause.REQUESTED), (State.DRAINING, State.STOPPING, State.SUSPENDING)),
        (_ORDERED, (State.DRAINING, State.STOPPING)),
        ((Cause.IDLE,), (State.STOPPING, State.SUSPENDING)),
        ((Cause.UNHEALTHY,), (State.STOPPING,)),
        _DIED,
        _STOPPED_OUTSIDE,
    ),
    State.DRAINING: _row(
        ((Cause.CALLED_OFF,), (State.READY,)),
        # READY: hotseat ends and leaves its models running
        ((Cause.DRAINED, Cause.DRAIN_DEADLINE), (State.STOPPING, State.SUSPENDING, State.READY)),
        ((Cause.UNHEALTHY,), (State.STOPPING,)),
        _DIED,
        _STOPPED_OUTSIDE,
    ),
    State.STOPPING: _row(
        ((Cause.EXITED,), (State.STOPPED, State.BACKOFF)),  # BACKOFF: stopped because of a failure
    ),
    State.SUSPENDING: _row(
        ((Cause.SLEPT,), (State.ASLEEP,)),
        ((Cause.SLEEP_FAILED, Cause.REQUESTED, *_ORDERED), (State.STOPPING,)),
        _DIED,
        _STOPPED_OUTSIDE,
    ),
    State.ASLEEP: _row(
        (_WANTED, (State.WAKING,)),
        ((Cause.REQUESTED,), (State.WAKING, State.STOPPING)),
        ((Cause.EVICTED, Cause.IDLE, *_ORDERED), (State.STOPPING,)),
        _DIED,
        _STOPPED_OUTSIDE,
    ),
    State.WAKING: _row(
        ((Cause.PROBE_PASSED,), (State.READY,)),
        ((Cause.WAKE_FAILED,), (State.STOPPING, State.STOPPED)),  # STOPPED: its run has ended
        ((Cause.ABANDONED, Cause.REQUESTED, *_ORDERED), (State.STOPPING,)),
        _STOPPED_OUTSIDE,
    ),
    State.BACKOFF: _row(
        ((Cause.COOLED_DOWN, Cause.REQUESTED), (State.STOPPED,)),
        _FOUND,
    ),
}
"""From each state and for each cause, the states that a model may move to."""


class IllegalTransition(Exception):
    """A transition that the table does not hold: a bug in the core, reported with the latest transitions."""

    def __init__(self, model: str, old: State, new: State, cause: Cause, history: list[str]) -> None:
        self.model, self.old, self.new, self.cause, self.history = model, old, new, cause, history
        lines = "\n  ".join(history) or "(none)"
        super().__init__(
            f"{model}: {old} → {new} ({cause}) is not in the table; latest transitions:\n  {lines}"
        )
