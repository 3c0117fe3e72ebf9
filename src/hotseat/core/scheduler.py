"""The scheduler: an event and the time go in, effects come out. It never waits and does no I/O."""

from __future__ import annotations

from collections.abc import Callable

from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core import invariants
from hotseat.core.handlers import downloads, operators, requests, runs, timers
from hotseat.core.replan import replan
from hotseat.core.scheduler_state import SchedulerState
from hotseat.core.spec import SchedulerSpec
from hotseat.core.states import LEAVING, LOADING, State
from hotseat.core.views import ModelView

_READY = State.READY  # on the hot path: an enum looks its members up at every access


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
        self._state = SchedulerState(spec, jitter, recovered)
        self._handlers: dict[type, Callable[..., None]] = {
            ev.RequestArrived: requests.request_arrived,
            ev.RequestWithdrawn: requests.request_withdrawn,
            ev.LeaseReturned: requests.lease_returned,
            ev.GateSeen: runs.gate_seen,
            ev.RunPrepared: runs.run_prepared,
            ev.ProbePassed: runs.probe_passed,
            ev.StartFailed: runs.start_failed,
            ev.RunExited: runs.run_exited,
            ev.RunUnplaced: runs.run_unplaced,
            ev.RunUnhealthy: runs.run_unhealthy,
            ev.RunSlept: runs.run_slept,
            ev.SleepFailed: runs.sleep_failed,
            ev.WakeFailed: runs.wake_failed,
            ev.RunFound: runs.run_found,
            ev.RunsRecovered: runs.runs_recovered,
            ev.StartObserved: runs.start_observed,
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
        self._state.configure(spec)

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

    def admit(self, request: int, model: str, key: str, now: float) -> int | None:
        """Short way for case 2 of ``requests.request_arrived``: the run on which a lease is granted.

        ``None``: nothing was done, and the event has to be handled. The hot path: no event, no effect.
        """
        state = self._state
        record = state.models.get(model)
        if record is None or record.state is not _READY or record.queue.waiting:
            return None
        leases, limit = record.leases, record.spec.max_in_flight
        if (limit is not None and len(leases) >= limit) or state.shutdown or record.retired:
            return None
        if now < state.last_time:
            now = state.last_time
        state.last_time = now
        if not leases:
            record.measure_pause(now)
        record.grant(request, key, now)
        state.requests[request] = record
        return record.run

    def take_back(self, request: int, now: float) -> bool:
        """Short way for ``LeaseReturned``: true when the lease was taken back and nothing follows from it.

        False: nothing was done, and the event has to be handled. The hot path: no event, no effect.

        1. The request holds no lease on a ready model, or requests are queued there: handle the event.
        2. The model becomes quiet, and somebody waits for its memory or no deadline is set that is early
           enough for its idle time: handle the event.
        3. Otherwise only the lease goes.
        """
        state = self._state
        model = state.requests.get(request)
        if model is None or model.state is not _READY or model.queue.waiting:  # 1
            return False
        leases = model.leases
        if request not in leases:  # 1
            return False
        if len(leases) == 1 and (
            state.contended or state.deadlines.at(model.name) > model.idle_stop_at(now)
        ):  # 2
            return False
        if now < state.last_time:  # 3
            now = state.last_time
        state.last_time = now
        del state.requests[request]
        model.release(request, now)
        return True

    @property
    def state(self) -> SchedulerState:
        """The state behind the views, for tests and the simulator. Read only."""
        return self._state

    @property
    def wake_at(self) -> float:
        """Latest time to send ``TimePassed``; infinity for never."""
        return min(self._state.replan_at, self._state.deadlines.next_at)

    @property
    def plan_at(self) -> float:
        """The end of the turn that somebody waits for; infinity for never."""
        return self._state.replan_at

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
