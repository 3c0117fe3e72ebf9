"""One model's record: its state, its run, its leases, its queue, and what was learned of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hotseat.core import policy
from hotseat.core.deadlines import NEVER
from hotseat.core.errors import Reason
from hotseat.core.queue import FairQueue
from hotseat.core.spec import Footprint, SchedulingSpec, SleepSpec
from hotseat.core.states import HOLDS_RUN, TRANSITIONS, Cause, IllegalTransition, State
from hotseat.core.views import ModelView

STABLE_S = 60.0
"""A run that has served so long wipes out the failures before it."""
STOP_AGAIN_S = 60.0
"""A stop whose end was never reported is ordered again after so long."""
LEARN = 0.3
"""Weight of the newest measurement in moving averages."""


def learned(old: float | None, new: float) -> float:
    """The moving average after one more measurement."""
    return new if old is None else (1 - LEARN) * old + LEARN * new


@dataclass(slots=True)
class ModelState:
    """The record of one model; only the scheduler touches it."""

    spec: SchedulingSpec
    state: State = State.STOPPED
    since: float = 0.0
    run: int | None = None
    run_footprint: Footprint = field(default_factory=dict)
    """What the run takes while awake: that of the configuration it was started with."""
    run_fingerprint: str = ""
    asleep: bool = False
    """The run sleeps, or slept when it was told to stop."""
    leftover: Footprint = field(default_factory=dict)
    """What the run takes while asleep: as configured, until it was measured."""
    leftover_of: SleepSpec | None = None
    """The configuration that it comes from, or was measured under."""

    files_missing: bool = False
    """They must be downloaded, or looked for at least, before a start."""
    download: int | None = None
    """Number of the download, while DOWNLOADING."""
    downloaded_at: float = 0.0

    leases: dict[int, tuple[str, float]] = field(default_factory=dict)
    """By request: whose lease it is (the key), and since when."""
    held_by: dict[str, int] = field(default_factory=dict)
    queue: FairQueue = field(default_factory=FairQueue)
    peak: int = 0
    """The most clients at once in this turn."""

    requested: bool = False
    """An operator wants it ready."""
    requested_at: float = 0.0
    warm: bool = False
    """The configuration, or its schedule, wants it ready."""
    scheduled: bool = False
    """Its schedule says that it is to be warm now."""
    retired: bool = False
    """No longer configured: it goes when it can."""
    distrusts_sleep: bool = False
    unusable: str | None = None
    """Why its runtime cannot work now."""

    leaving: Cause | None = None
    """While DRAINING: why. Only an eviction may be called off."""
    to_sleep: bool = False
    """While DRAINING: it is to sleep rather than to stop."""
    needed_by: str | None = None
    failed: Reason | None = None
    """While STOPPING because of a failure: what it was."""

    ready_since: float = 0.0
    idle_since: float = 0.0
    ordered_at: float = 0.0
    """When the run was last told to start, stop, sleep or wake."""
    launched_at: float = 0.0
    """When the run was started, or found."""
    adopted: bool = False
    """The run was found, not started by us."""
    unplanned: bool = False
    """The run was not started within the present budget: it was found, or the budget has changed since."""
    served: bool = False
    """The run has been ready."""
    start_cost_s: float | None = None
    wake_cost_s: float | None = None
    pause_s: float | None = None
    """The usual pause between two requests; none counts as longer than it takes to bring the model back."""
    service_s: float | None = None
    """How long a lease is usually held."""

    starts: int = 0
    last_start_s: float | None = None
    failures: int = 0
    backoffs: int = 0
    backoff_until: float = 0.0
    reason: Reason | None = None
    last_used: float | None = None
    idle_stops: int = 0
    evictions: int = 0
    story: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    @property
    def demand(self) -> int:
        """Clients that use it or wait for it now."""
        return len(self.leases) + len(self.queue)

    @property
    def quiet(self) -> bool:
        """Nobody uses it and nobody waits."""
        return not self.leases and not self.queue

    @property
    def stale(self) -> bool:
        """Its run was started with another configuration."""
        return self.run is not None and self.run_fingerprint != self.spec.fingerprint

    @property
    def sleeps(self) -> bool:
        """Whether it sleeps instead of being stopped."""
        return (
            self.spec.sleep is not None and not self.distrusts_sleep and not self.retired and not self.stale
        )

    @property
    def return_cost_s(self) -> float | None:
        """What it takes to have it ready again once it is away: a wake where it sleeps, else a start."""
        away = self.state in (State.STOPPED, State.DOWNLOADING, State.STARTING, State.BACKOFF)
        if self.wake_cost_s is None or away or not (self.asleep or self.sleeps):
            return self.start_cost_s
        return self.wake_cost_s

    def holds(self) -> Footprint:
        """GPU memory counted for it in its present state."""
        if self.state not in HOLDS_RUN:
            return {}
        return self.leftover if self.asleep else self.run_footprint

    def slots(self) -> bool:
        """Whether one more lease may be held."""
        limit = self.spec.max_in_flight
        return limit is None or len(self.leases) < limit

    def move(self, new: State, cause: Cause, now: float) -> None:
        """Go to ``new`` through the table. Raises ``IllegalTransition``."""
        if new not in TRANSITIONS[self.state]:
            raise IllegalTransition(self.name, self.state, new, cause, list(self.story))
        self.story.append(f"{now:.3f} {self.state} → {new} ({cause}) run {self.run}")
        self.state, self.since = new, now
        if new is not State.STOPPING:  # a sleeper that is stopped takes no more than it did
            self.asleep = new is State.ASLEEP
        if new in (State.READY, State.WAKING):
            self.leaving = self.needed_by = None
            self.to_sleep = False
        if new is not State.DOWNLOADING:
            self.download = None
        if new not in HOLDS_RUN:
            self.run = None
            self.leaving = self.needed_by = self.failed = None
            self.to_sleep = False

    def grant(self, request: int, key: str, now: float) -> None:
        """Hold a lease for this request."""
        self.leases[request] = (key, now)
        self.held_by[key] = self.held_by.get(key, 0) + 1
        self.last_used = now
        demand = len(self.leases) + len(self.queue.waiting)
        if demand > self.peak:
            self.peak = demand

    def give_back(self, request: int, now: float) -> None:
        """A lease has come back."""
        key, since = self.leases.pop(request)
        left = self.held_by[key] - 1
        if left:
            self.held_by[key] = left
        else:
            del self.held_by[key]
        self.service_s = learned(self.service_s, now - since)
        self.last_used = now
        if not self.leases:
            self.idle_since = now

    def learn_pause(self, now: float) -> None:
        """Somebody asks for it, and nobody has used it since ``idle_since``."""
        if self.last_used is not None:
            pause_s = min(now - self.idle_since, policy.swap_cost_s(self.return_cost_s))
            self.pause_s = learned(self.pause_s, pause_s)

    def expect_leftover(self) -> None:
        """Take what is configured for its sleep, where that has changed and it does not sleep now."""
        if self.leftover_of != self.spec.sleep and not self.asleep and self.state is not State.SUSPENDING:
            self.leftover_of = self.spec.sleep
            self.leftover = self.spec.sleep.leftover if self.spec.sleep else {}

    def reset_failures(self, now: float) -> None:
        """Forget the failures before a run that has served long enough; asked when it ends."""
        if self.served and now - self.ready_since >= STABLE_S:
            self.failures = self.backoffs = 0

    def deadline(self) -> float:
        """When its state must change, or be looked at again, if nothing happens before."""
        match self.state:
            case State.READY:
                return self.idle_deadline()
            case State.STARTING | State.WAKING:
                return self.since + self.spec.start_timeout_s
            case State.DOWNLOADING:
                limit_s = self.spec.download_timeout_s
                return NEVER if limit_s is None else self.since + limit_s
            case State.DRAINING | State.SUSPENDING:
                return self.since + self.spec.drain_timeout_s
            case State.STOPPING:
                return self.ordered_at + STOP_AGAIN_S
            case State.ASLEEP:
                idle_s = self.spec.sleep.idle_s if self.spec.sleep else 0.0
                wanted = self.queue or self.requested or self.warm
                return NEVER if idle_s is None or wanted else self.since + idle_s
            case State.BACKOFF:
                return self.backoff_until
            case State.STOPPED:
                return NEVER

    def idle_deadline(self) -> float:
        """When a ready and quiet model is stopped for being idle."""
        return NEVER if self.leases or self.queue.waiting else self.idles_at(self.idle_since)

    def idles_at(self, quiet_since: float) -> float:
        """When it is stopped for being idle, if it is quiet from then on."""
        spec = self.spec
        if spec.idle_s is None or spec.pinned or self.warm:
            return NEVER
        return quiet_since + spec.idle_s

    def idle_at(self) -> float | None:
        """When it is stopped for being idle if nothing happens before; ``None``: not for that."""
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
            footprint=dict(self.holds()),
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
