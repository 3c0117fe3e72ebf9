"""The states of a model, their named groups, and the table of legal moves.

The table is the truth: the drawing in ``docs/design.md`` is printed from it. A move that is not in
it is a bug with a name (``IllegalTransition``), never something to ignore.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """Where a model is in its life."""

    STOPPED = "stopped"
    DOWNLOADING = (
        "downloading"  # its files are fetched before it may start; it has no run and takes no memory
    )
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"  # no new leases; those held run to their end, or to the drain deadline
    STOPPING = "stopping"  # told to stop; its memory counts until the exit is confirmed
    SUSPENDING = "suspending"  # told to sleep; its memory counts until it says that it sleeps
    ASLEEP = "asleep"
    WAKING = "waking"
    BACKOFF = "backoff"  # it failed; not tried again before a deadline


class Cause(StrEnum):
    """Why a model moved. Every move has one; logs, events and metrics use these words."""

    DEMAND = "demand"
    REQUESTED = "requested"  # by an operator, through the admin API
    PRELOAD = "preload"  # kept warm by the configuration
    ADOPTED = "adopted"  # found running
    DOWNLOADED = "downloaded"
    DOWNLOAD_FAILED = "download_failed"
    PROBE_PASSED = "probe_passed"
    START_FAILED = "start_failed"
    START_TIMEOUT = "start_timeout"
    ABANDONED = "abandoned"  # nobody waits for this start any more, and others need the room
    IDLE = "idle"
    EVICTED = "evicted"
    CALLED_OFF = "called_off"  # the eviction's cause has gone before anything was told to stop
    DRAINED = "drained"
    DRAIN_DEADLINE = "drain_deadline"
    SLEPT = "slept"
    SLEEP_FAILED = "sleep_failed"
    WAKE_FAILED = "wake_failed"
    UNHEALTHY = "unhealthy"
    CRASHED = "crashed"
    EXITED = "exited"  # the exit that was ordered, confirmed
    STOPPED_OUTSIDE = "stopped_outside"  # somebody else stopped it, deliberately
    COOLED_DOWN = "cooled_down"
    CONFIGURED = "configured"  # the configuration changed
    SHUTDOWN = "shutdown"


HOLDS_RUN = frozenset(
    {
        State.STARTING,
        State.READY,
        State.DRAINING,
        State.STOPPING,
        State.SUSPENDING,
        State.ASLEEP,
        State.WAKING,
    }
)
"""States in which a model has a run, and so takes memory."""

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
"""Causes that say that a run did not do what it should. Each failure has one move with such a cause."""

_END = (State.STOPPED, State.BACKOFF)

TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.STOPPED: frozenset({State.DOWNLOADING, State.STARTING, State.READY}),  # READY: found healthy
    State.DOWNLOADING: frozenset({State.STARTING, State.READY, *_END}),  # the first two: found running
    State.STARTING: frozenset({State.READY, State.ASLEEP, State.STOPPING, *_END}),  # ASLEEP: found so
    State.READY: frozenset({State.DRAINING, State.STOPPING, State.SUSPENDING, *_END}),
    State.DRAINING: frozenset({State.READY, State.STOPPING, State.SUSPENDING, *_END}),
    State.STOPPING: frozenset(_END),
    State.SUSPENDING: frozenset({State.ASLEEP, State.STOPPING, *_END}),
    State.ASLEEP: frozenset({State.WAKING, State.STOPPING, *_END}),
    State.WAKING: frozenset({State.READY, State.STOPPING, *_END}),
    State.BACKOFF: frozenset({State.STOPPED, State.STARTING, State.READY}),
}
"""From each state, the states that a model may move to."""


class IllegalTransition(Exception):
    """A move that the table does not hold: a bug in the core, told with the model's last moves."""

    def __init__(self, model: str, old: State, new: State, cause: Cause, story: list[str]) -> None:
        self.model, self.old, self.new, self.cause, self.story = model, old, new, cause, story
        lines = "\n  ".join(story) or "(none)"
        super().__init__(f"{model}: {old} → {new} ({cause}) is not in the table; last moves:\n  {lines}")
