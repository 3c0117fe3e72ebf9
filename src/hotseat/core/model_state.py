"""The record of one model: its state, its run, its leases, its queue, and what was measured."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hotseat.core import policy
from hotseat.core.deadlines import NEVER
from hotseat.core.errors import Reason
from hotseat.core.patience import Patience
from hotseat.core.queue import FairQueue, QueuedRequest
from hotseat.core.spec import Footprint, SchedulingSpec, SleepSpec, StandbyMode
from hotseat.core.states import (
    HOLDS_LEASES,
    HOLDS_RUN,
    STANDS_BY,
    TRANSITIONS,
    Cause,
    IllegalTransition,
    State,
)
from hotseat.core.views import ModelView

STABLE_S = 60.0
"""Seconds of service after which a run wipes out the failures before it."""
STOP_AGAIN_S = 60.0
"""Seconds after which a stop whose end was never reported is ordered again."""
PREPARE_TIMEOUT = 4.0
"""How long preparing may take, in start time-outs: at a low priority, beside models that are in use."""
PREPARE_AGAIN_S = 300.0
"""Seconds for which a model is started plainly after preparing it has failed."""
NEWEST_WEIGHT = 0.3
"""Weight of the newest measurement in moving averages."""


def moving_average(old: float | None, new: float) -> float:
    """The moving average after one more measurement."""
    return new if old is None else (1 - NEWEST_WEIGHT) * old + NEWEST_WEIGHT * new


@dataclass(slots=True)
class ModelState:
    """The record of one model. Only the scheduler changes it.

    ``move`` keeps the fields consistent that belong to a state or to a run; ``invariants.check`` holds
    what the docstrings below promise.
    """

    # configuration

    spec: SchedulingSpec

    # lifecycle state

    state: State = State.STOPPED
    since: float = 0.0
    """Time of the latest transition."""
    history: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    """The latest transitions in words, for bug reports."""

    # the current run: meaningless while ``run`` is ``None``

    run: int | None = None
    """Number of the run; set exactly in the states of ``HOLDS_RUN``, so never together with ``download``."""
    run_footprint: Footprint = field(default_factory=dict)
    """GPU memory of the run while awake, by the configuration that it was started with."""
    run_fingerprint: str = ""
    """Fingerprint of the configuration that the run was started with."""
    launched_at: float = 0.0
    """Time at which the run was started or found."""
    ordered_at: float = 0.0
    """Time at which the run was last told to start, stop, sleep or wake."""
    adopted: bool = False
    """The run was found, not started by us. Implies ``unplanned``."""
    unplanned: bool = False
    """The run was not started within the present budget: found, or the budget has changed since."""
    unplaced: Reason | None = None
    """Why the runtime has no room for the run; set only while STARTING."""
    placed_at: float = 0.0
    """Time at which the runtime found room for a run that it had none for at first."""
    served: bool = False
    """The run has been ready. Never set while STARTING."""
    ready_since: float = 0.0
    """Time at which the run became ready last."""

    # standby

    held_back: bool = False
    """The run may not use the GPU yet. Set in the states of ``STANDS_BY``, and while STOPPING after them."""
    stood_by: bool | None = None
    """Whether the run stood by when it was admitted; false: it was still being prepared; ``None``: it was
    started plainly."""
    gate_seen: str | None = None
    """Fingerprint of the latest configuration of which a run stopped at its gate; ``None``: of none."""
    prepare_after: float = 0.0
    """Time before which it is not prepared, because preparing it has failed."""
    standby_mib: int | None = None
    """Measured host memory of a run that stands by, in MiB."""
    dismissed: bool = False
    """An operator has stopped it: not prepared for nobody until it is used again."""

    # sleep

    asleep: bool = False
    """The run sleeps, or slept when it was told to stop. Only set while ASLEEP or STOPPING."""
    leftover: Footprint = field(default_factory=dict)
    """GPU memory of the run while asleep: as configured, until it was measured."""
    leftover_spec: SleepSpec | None = None
    """The configuration that ``leftover`` comes from, or was measured under."""
    sleep_broken: bool = False
    """Sleeping or waking failed once: stopped instead from then on."""

    # the way out

    drain_cause: Cause | None = None
    """Why it drains; set only while DRAINING. Only ``Cause.EVICTED`` may be called off."""
    to_sleep: bool = False
    """Sleeps rather than stops once drained; set only while DRAINING. Cleared when a further cause to
    leave comes that is no eviction."""
    needed_by: str | None = None
    """Name of the model that an eviction makes room for."""
    failure: Reason | None = None
    """Why a run that failed is stopped; set only while STOPPING. Excludes a stop that was ordered."""

    # files

    progressed_at: float = 0.0
    """When more of the files that its start downloads was seen, or the start began."""
    downloaded_in_start: bool = False
    """Whether its latest start was seen to download."""
    start_note: str | None = None
    """What may keep the start from becoming ready."""
    files_missing: bool = False
    """Files must be downloaded, or at least looked for, before a start."""
    download: int | None = None
    """Number of the download; set exactly while DOWNLOADING, so never together with ``run``."""
    downloaded_at: float = 0.0

    # clients

    leases: dict[int, tuple[str, float]] = field(default_factory=dict)
    """By request: the key that holds the lease, and since when. Empty outside of READY and DRAINING."""
    held_by: dict[str, int] = field(default_factory=dict)
    """Number of leases by key; adds up to ``leases``."""
    queue: FairQueue = field(default_factory=FairQueue)
    """Requests without a lease. Empty while BACKOFF, and while READY with a free slot."""
    patience: Patience = field(default_factory=Patience)
    """What its clients did who had to wait for it."""
    peak_demand: int = 0
    """The most clients at once in this turn."""
    idle_since: float = 0.0
    """Time at which the last lease came back; meaningless while there are leases."""
    last_used: float | None = None

    # who else wants it

    requested: bool = False
    """An operator wants it ready. Cleared by READY, by BACKOFF and when it is retired."""
    requested_at: float = 0.0
    warm: bool = False
    """The configuration or a schedule wants it ready. Cleared when it is retired."""
    warm_scheduled: bool = False
    """A keep-warm schedule wants it ready now. Implies ``warm``."""
    retired: bool = False
    """No longer configured: removed with the end of its run."""
    unusable: str | None = None
    """Why the runtime cannot work now."""

    # measurements, in seconds

    start_cost_s: float | None = None
    last_start_s: float | None = None
    wake_cost_s: float | None = None
    standby_cost_s: float | None = None
    """Seconds from its admission to its readiness, for a run that stood by."""
    pause_s: float | None = None
    """Usual pause between two requests; none counts as longer than it takes to bring the model back."""
    service_s: float | None = None
    """Usual time for which a lease is held."""

    # failures

    failures: int = 0
    """Failed starts and crashes in a row."""
    equal_failures: int = 0
    """Starts in a row that failed for the same reason; 0 once a run has been ready."""
    backoffs: int = 0
    """Back-offs in a row."""
    backoff_until: float = 0.0
    """End of the latest back-off."""
    reason: Reason | None = None
    """Why it failed or ended last."""

    # counters

    starts: int = 0
    idle_stops: int = 0
    evictions: int = 0

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    @property
    def demand(self) -> int:
        """Number of clients that use it or wait for it."""
        return len(self.leases) + len(self.queue)

    @property
    def quiet(self) -> bool:
        """Whether nobody uses it or waits for it."""
        return not self.leases and not self.queue

    @property
    def wanted(self) -> bool:
        """Whether clients, an operator or the configuration want it ready."""
        return bool(self.queue) or self.requested or self.warm

    @property
    def stale(self) -> bool:
        """Whether its run was started with another configuration."""
        return self.run is not None and self.run_fingerprint != self.spec.fingerprint

    @property
    def can_sleep(self) -> bool:
        """Whether it is put to sleep instead of being stopped."""
        return self.spec.sleep is not None and not self.sleep_broken and not self.retired and not self.stale

    def can_prepare(self, now: float) -> bool:
        """Whether it may be started as far as the GPU: its gate is known to hold it."""
        return (
            now >= self.prepare_after
            and self.spec.standby is not StandbyMode.OFF
            and self.gate_seen == self.spec.fingerprint
            and not (self.retired or self.files_missing or self.unusable)
        )

    @property
    def host_mib(self) -> int:
        """Host memory that counts for it as a sleeper or while it stands by, in MiB."""
        if self.state in STANDS_BY:
            return self.standby_need_mib
        return self.sleep_need_mib if self.state in (State.ASLEEP, State.SUSPENDING) else 0

    @property
    def sleep_need_mib(self) -> int:
        """Host memory that it takes asleep, in MiB."""
        sleep = self.spec.sleep
        return sleep.host_mib if sleep is not None and sleep.level == 1 else 0

    @property
    def standby_need_mib(self) -> int:
        """Host memory that it takes while it stands by, in MiB: as measured last, else as expected."""
        return self.spec.standby_mib if self.standby_mib is None else self.standby_mib

    @property
    def loading_since(self) -> float:
        """Time since which it starts or wakes, less the time for which there was no room."""
        return max(self.since, self.placed_at)

    @property
    def return_cost_s(self) -> float | None:
        """Seconds to have it ready again once it has left: a wake where it sleeps, the rest of a start where
        it stands by, else a start.
        """
        if self.state is State.STANDBY and self.standby_cost_s is not None:
            return self.standby_cost_s
        away = self.state in (*STANDS_BY, State.STOPPED, State.DOWNLOADING, State.STARTING, State.BACKOFF)
        if self.wake_cost_s is None or away or not (self.asleep or self.can_sleep):
            return self.start_cost_s
        return self.wake_cost_s

    @property
    def start_cause(self) -> Cause:
        """Cause of a start, if it were started now."""
        return Cause.DEMAND if self.queue else Cause.REQUESTED if self.requested else Cause.PRELOAD

    def memory_held(self) -> Footprint:
        """GPU memory counted for it in its present state."""
        if self.state not in HOLDS_RUN or self.held_back:
            return {}
        return self.leftover if self.asleep else self.run_footprint

    def has_free_slot(self) -> bool:
        """Whether one more lease may be held."""
        limit = self.spec.max_in_flight
        return limit is None or len(self.leases) < limit

    def move(self, new: State, cause: Cause, now: float) -> None:
        """Go to ``new`` through the table. Raises ``IllegalTransition``."""
        if new not in TRANSITIONS[self.state].get(cause, ()):
            raise IllegalTransition(self.name, self.state, new, cause, list(self.history))
        self.history.append(f"{now:.3f} {self.state} → {new} ({cause}) run {self.run}")
        self.state, self.since = new, now
        if new is State.STARTING:
            self.progressed_at, self.downloaded_in_start, self.start_note = now, False, None
        self.unplaced = None
        if new is not State.STOPPING:  # a sleeper that is stopped takes no more than it did
            self.asleep = new is State.ASLEEP
        if new is not State.DRAINING:
            self.drain_cause, self.to_sleep = None, False
        if new in (State.READY, State.WAKING):
            self.needed_by = None
        if new is not State.DOWNLOADING:
            self.download = None
        if new not in HOLDS_RUN:
            self.run = self.needed_by = self.failure = None

    def grant(self, request: int, key: str, now: float) -> None:
        """Record a lease of this request."""
        leases, held_by = self.leases, self.held_by
        leases[request] = (key, now)
        held_by[key] = held_by.get(key, 0) + 1
        self.last_used = now
        demand = len(leases) + len(self.queue.waiting)
        if demand > self.peak_demand:
            self.peak_demand = demand

    def release(self, request: int, now: float) -> None:
        """Remove the lease of this request. Raises ``KeyError``."""
        leases, held_by = self.leases, self.held_by
        key, since = leases.pop(request)
        left = held_by[key] - 1
        if left:
            held_by[key] = left
        else:
            del held_by[key]
        self.service_s = moving_average(self.service_s, now - since)
        self.last_used = now
        if not leases:
            self.idle_since = now

    def measure_pause(self, now: float) -> None:
        """Take the time since ``idle_since`` for a pause between two requests."""
        if self.last_used is not None:
            pause_s = min(now - self.idle_since, policy.swap_cost_s(self.return_cost_s))
            self.pause_s = moving_average(self.pause_s, pause_s)

    def learn_patience(self, queued: QueuedRequest, now: float, *, stayed: bool) -> None:
        """Remember what a client did who waited for the model to be loaded."""
        if queued.group is not None and self.state not in HOLDS_LEASES:
            self.patience.learn(queued.group, now - queued.since, stayed=stayed, now=now)

    def count_failed_start(self, reason: Reason) -> None:
        """Count one more start that failed, and whether the one before failed for the same reason."""
        last = self.reason
        equal = last is not None and (last.summary, last.hint) == (reason.summary, reason.hint)
        self.equal_failures = self.equal_failures + 1 if equal else 1

    def reset_leftover(self) -> None:
        """Take the configured leftover where that has changed, and it neither sleeps nor is about to."""
        if self.leftover_spec != self.spec.sleep and not self.asleep and self.state is not State.SUSPENDING:
            self.leftover_spec = self.spec.sleep
            self.leftover = self.spec.sleep.leftover if self.spec.sleep else {}

    def reset_failures(self, now: float) -> None:
        """Forget the failures before a run that has served long enough; called when the run ends.

        A run that was found asleep, and never woken, has not been ready: ``ready_since`` is of one before it.
        """
        ready = self.served and self.ready_since >= self.launched_at
        if ready and now - self.ready_since >= STABLE_S:
            self.failures = self.backoffs = 0

    def deadline(self) -> float:
        """Time at which its state must change, or be looked at again, if nothing happens before."""
        match self.state:
            case State.READY:
                return self.idle_deadline()
            case State.STARTING:
                since, start_s = self.loading_since, self.spec.start_timeout_s
                longest_s = max(start_s, policy.LONGEST_DOWNLOAD_S)
                return min(max(since, self.progressed_at) + start_s, since + longest_s)
            case State.WAKING:
                return self.loading_since + self.spec.start_timeout_s
            case State.PREPARING:
                return self.since + PREPARE_TIMEOUT * self.spec.start_timeout_s
            case State.STANDBY:
                kept = self.wanted or self.spec.standby is StandbyMode.KEEP or self.spec.idle_s is None
                return NEVER if kept else self.since + (self.spec.idle_s or 0.0)
            case State.DOWNLOADING:
                limit_s = self.spec.download_timeout_s
                return NEVER if limit_s is None else self.since + limit_s
            case State.DRAINING | State.SUSPENDING:
                return self.since + self.spec.drain_timeout_s
            case State.STOPPING:
                return self.ordered_at + STOP_AGAIN_S
            case State.ASLEEP:
                idle_s = self.spec.sleep.idle_s if self.spec.sleep else 0.0
                return NEVER if idle_s is None or self.wanted else self.since + idle_s
            case State.BACKOFF:
                return self.backoff_until
            case State.STOPPED:
                return NEVER

    def idle_deadline(self) -> float:
        """Time at which a ready and quiet model is stopped for being idle."""
        return NEVER if self.leases or self.queue.waiting else self.idle_stop_at(self.idle_since)

    def idle_stop_at(self, quiet_since: float) -> float:
        """Time at which it is stopped for being idle, if it is quiet since ``quiet_since``."""
        spec = self.spec
        if spec.idle_s is None or spec.pinned or self.warm:
            return NEVER
        return quiet_since + spec.idle_s

    def idle_at(self) -> float | None:
        """The end of its idle time if nothing happens before; ``None``: it is not stopped for that."""
        at = self.idle_deadline() if self.state is State.READY else NEVER
        return None if at == NEVER else at

    def view(self) -> ModelView:
        """A snapshot for others."""
        return ModelView(
            model=self.name,
            state=self.state,
            run=self.run,
            since=self.since,
            in_flight=len(self.leases),
            waiting=len(self.queue),
            footprint=dict(self.memory_held()),
            requested=self.requested,
            starts=self.starts,
            last_start_s=self.last_start_s,
            start_cost_s=self.start_cost_s,
            failures=self.failures,
            backoff_until=self.backoff_until if self.state is State.BACKOFF else None,
            reason=self.reason,
            last_used=self.last_used,
            idle_at=self.idle_at(),
            idle_stops=self.idle_stops,
            evictions=self.evictions,
        )
