"""The scheduler: an event and the time go in, effects come out. It never waits and does no I/O."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType

from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core import invariants
from hotseat.core.handlers import downloads, operators, requests, runs, timers
from hotseat.core.replan import replan
from hotseat.core.scheduler_state import SchedulerState
from hotseat.core.spec import SchedulerSpec
from hotseat.core.states import LEAVING, LOADING, State
from hotseat.core.views import ModelView


class Scheduler:
    """The facade of the core, and the only way to change its state.

    ``handle(event, now)`` returns the effects to carry out, in order. ``wake_at`` is when to call it
    with ``TimePassed`` if nothing happens before. ``admit`` and ``take_back`` are the short ways for the
    two events of a request whose model is ready.
    """

    def __init__(
        self, spec: SchedulerSpec, jitter: Callable[[], float] = lambda: 0.0, *, recovered: bool = True
    ) -> None:
        """``jitter()`` (0…1) spreads back-offs. ``recovered=False``: nothing is started or stopped before
        ``RunsRecovered`` has come.
        """
        self._state = state = SchedulerState(spec, jitter, recovered)
        # Bound once: a method that passes the state on would cost every request a further call.
        self.admit: Callable[[int, str, str, float], int | None] = MethodType(requests.admit, state)
        """Short way for ``RequestArrived`` (request, model, key, now): the run on which a lease is granted
        at once. ``None``: nothing was done, and the event has to be handled."""
        self.take_back: Callable[[int, float], bool] = MethodType(requests.take_back, state)
        """Short way for ``LeaseReturned`` (request, now): true where nothing follows from it. False: nothing
        was done, and the event has to be handled."""
        self._handlers: dict[type, Callable[..., None]] = {
            ev.RequestArrived: requests.request_arrived,
            ev.RequestWithdrawn: requests.request_withdrawn,
            ev.LeaseReturned: requests.lease_returned,
            ev.ProbePassed: runs.probe_passed,
            ev.StartFailed: runs.start_failed,
            ev.RunExited: runs.run_exited,
            ev.RunUnhealthy: runs.run_unhealthy,
            ev.RunSlept: runs.run_slept,
            ev.SleepFailed: runs.sleep_failed,
            ev.WakeFailed: runs.wake_failed,
            ev.RunFound: runs.run_found,
            ev.RunsRecovered: runs.runs_recovered,
            ev.StartRemembered: runs.start_remembered,
            ev.FilesSeen: downloads.files_seen,
            ev.Downloaded: downloads.downloaded,
            ev.DownloadFailed: downloads.download_failed,
            ev.StartRequested: operators.start_requested,
            ev.StopRequested: operators.stop_requested,
            ev.KeepWarmChanged: operators.keep_warm_changed,
            ev.RuntimeChanged: operators.runtime_changed,
            ev.SchedulerConfigured: operators.scheduler_configured,
            ev.ShutdownRequested: operators.shutdown_requested,
            ev.TimePassed: timers.time_passed,
        }
        state.configure(spec)

    def handle(self, event: ev.Event, now: float) -> list[do.Effect]:
        """Handle an event; returns the effects in order. ``now`` never goes back: earlier times are raised
        to the latest one.
        """
        state = self._state
        if now < state.last_time:
            now = state.last_time
        state.last_time = now
        self._handlers[type(event)](state, event, now)
        if state.plan_outdated:
            state.plan_outdated = False
            replan(state, now)
        effects, state.effects = state.effects, []
        return effects

    @property
    def state(self) -> SchedulerState:
        """The state behind the views, for tests and the simulator. Read only."""
        return self._state

    @property
    def wake_at(self) -> float:
        """When to send ``TimePassed`` at the latest; infinity for never."""
        return min(self._state.replan_at, self._state.deadlines.next_at)

    @property
    def at_rest(self) -> bool:
        """Whether, after ``ShutdownRequested``, nothing is left to be waited for."""
        state = self._state
        if state.shutdown and state.shutdown.leave_running:
            return not any(
                model.leases or model.state in LOADING or model.state in LEAVING
                for model in state.models.values()
            )
        return not state.residents

    def state_of(self, model: str) -> State:
        """The lifecycle state of one model. Raises ``KeyError``."""
        return self._state.models[model].state

    def view(self, model: str) -> ModelView:
        """A snapshot of one model. Raises ``KeyError``."""
        return self._state.models[model].view()

    def views(self) -> dict[str, ModelView]:
        """A snapshot of all models."""
        return {name: model.view() for name, model in self._state.models.items()}

    def check(self) -> None:
        """Raise ``AssertionError`` where an invariant does not hold (for tests and the simulator)."""
        invariants.check(self._state)
