"""The one that decides: an event and the time go in, orders come out. It never waits and does no I/O."""

from __future__ import annotations

from collections.abc import Callable

from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core import invariants, policy, refusals
from hotseat.core.deadlines import NEVER, Deadlines
from hotseat.core.errors import Reason, Refusal
from hotseat.core.model_state import ModelState, learned
from hotseat.core.planner import Plan, free_host_memory, make_plan
from hotseat.core.queue import Waiting
from hotseat.core.spec import SchedulerSpec, SchedulingSpec
from hotseat.core.states import HOLDS_LEASES, LOADING, Cause, State
from hotseat.core.views import ModelView


class Scheduler:
    """The state of all models and the only code that changes it.

    ``handle(event, now)`` returns the effects to carry out, in order. ``wake_at`` is when to call it
    with ``TimePassed`` if nothing happens before. ``jitter`` (0…1) spreads back-offs; it is asked for, so
    that the core itself holds no randomness.
    """

    def __init__(
        self, box: SchedulerSpec, jitter: Callable[[], float] = lambda: 0.0, *, settled: bool = True
    ) -> None:
        """``settled=False``: nothing is started or sent away before ``RunsRecovered`` has come."""
        self._box = box
        self._settled = settled
        self._luck = jitter
        self._seats: dict[str, ModelState] = {}
        self._requests: dict[int, ModelState] = {}
        self._residents: dict[str, ModelState] = {}
        self._wanting: dict[str, ModelState] = {}
        self._downloads = 0
        """The latest download's number."""
        self._numbers: dict[str, int] = {}
        """The latest run of each model ever known, so that no number is given twice."""
        self._alarms = Deadlines()
        self._plan_at = NEVER
        self._patience_s = 0.0
        self._tense = False
        """A lease that comes back may change the plan."""
        self._closing: ev.ShutdownRequested | None = None
        self._out: list[do.Effect] = []
        self._dirty = True
        self._last = -NEVER
        self._handlers: dict[type, Callable[..., None]] = {
            ev.RequestArrived: self._request_arrived,
            ev.RequestWithdrawn: self._request_withdrawn,
            ev.LeaseReturned: self._lease_returned,
            ev.ProbePassed: self._probe_passed,
            ev.StartFailed: self._start_failed,
            ev.FilesSeen: self._files_seen,
            ev.Downloaded: self._downloaded,
            ev.DownloadFailed: self._download_failed,
            ev.RunExited: self._run_exited,
            ev.RunUnhealthy: self._run_unhealthy,
            ev.RunSlept: self._run_slept,
            ev.SleepFailed: self._sleep_failed,
            ev.WakeFailed: self._wake_failed,
            ev.RunFound: self._run_found,
            ev.RunsRecovered: self._runs_recovered,
            ev.StartRemembered: self._start_remembered,
            ev.StartRequested: self._start_requested,
            ev.StopRequested: self._stop_requested,
            ev.KeepWarmChanged: self._warmth_changed,
            ev.RuntimeChanged: self._runtime_changed,
            ev.SchedulerConfigured: self._box_configured,
            ev.ShutdownRequested: self._shutdown_requested,
            ev.TimePassed: self._time_passed,
        }
        self._configure(box)

    # what others may ask

    @property
    def wake_at(self) -> float:
        """When to send ``TimePassed`` at the latest; infinity for never."""
        return min(self._plan_at, self._alarms.next_at)

    @property
    def plan_at(self) -> float:
        """When a turn ends that somebody waits for; infinity for never."""
        return self._plan_at

    @property
    def at_rest(self) -> bool:
        """After ``ShutdownRequested``: nothing is left to be waited for."""
        if self._closing and self._closing.leave_running:
            return not any(s.leases or s.state in LOADING or s.state in _GOING for s in self._seats.values())
        return not self._residents

    def view(self, model: str) -> ModelView:
        """A snapshot of one model. Raises ``KeyError``."""
        return self._seats[model].view()

    def views(self) -> dict[str, ModelView]:
        """A snapshot of all models."""
        return {name: seat.view() for name, seat in self._seats.items()}

    def state(self, model: str) -> State:
        """The state of one model. Raises ``KeyError``."""
        return self._seats[model].state

    def handle(self, event: ev.Event, now: float) -> list[do.Effect]:
        """Take note of a fact and say what to do. ``now`` never goes back (earlier times are lifted)."""
        if now < self._last:
            now = self._last
        self._last = now
        self._handlers[type(event)](event, now)
        if self._dirty:
            self._dirty = False
            self._replan(now)
        out, self._out = self._out, []
        return out

    # requests

    def admit(self, request: int, model: str, key: str, now: float) -> int | None:
        """The short way for ``RequestArrived``: the run on which a lease is granted at once.

        ``None``: there is more to it, nothing was done, and the event has to be handled.
        """
        seat = self._seats.get(model)
        if (
            seat is None
            or seat.state is not State.READY
            or seat.queue.waiting
            or self._closing
            or seat.retired
        ):
            return None
        leases, limit = seat.leases, seat.spec.max_in_flight
        if limit is not None and len(leases) >= limit:
            return None
        if now < self._last:
            now = self._last
        self._last = now
        if not leases:
            seat.learn_pause(now)
        seat.grant(request, key, now)
        self._requests[request] = seat
        return seat.run

    def take_back(self, request: int, now: float) -> bool:
        """The short way for ``LeaseReturned``: true where nothing follows from it.

        False: there is more to it, nothing was done, and the event has to be handled.
        """
        seat = self._requests.get(request)
        if seat is None or seat.state is not State.READY or seat.queue.waiting or request not in seat.leases:
            return False
        if len(seat.leases) == 1 and (self._tense or self._alarms.at(seat.name) > seat.idles_at(now)):
            return False
        if now < self._last:
            now = self._last
        self._last = now
        del self._requests[request]
        seat.give_back(request, now)
        return True

    def _request_arrived(self, event: ev.RequestArrived, now: float) -> None:
        run = self.admit(event.request, event.model, event.key, now)
        if run is not None:
            self._out.append(do.GrantLease(event.request, event.model, run))
            return
        seat = self._seats.get(event.model)
        if seat is None or seat.retired:
            self._refuse(event.request, refusals.unknown(event.model))
            return
        refusal = self._refusal_at_arrival(seat, now)
        if refusal is not None:
            self._refuse(event.request, refusal)
            return
        if seat.quiet:
            seat.learn_pause(now)
        seat.queue.push(Waiting(event.request, event.key, event.priority, now))
        seat.peak = max(seat.peak, seat.demand)
        self._requests[event.request] = seat
        self._want(seat)
        self._arm(seat)

    def _refusal_at_arrival(self, seat: ModelState, now: float) -> Refusal | None:
        if self._closing:
            return refusals.shutting_down(seat)
        if seat.unusable is not None and seat.state not in _MAY_SERVE:
            return refusals.unusable(seat.name, seat.unusable)
        if seat.state is State.BACKOFF:
            return refusals.backing_off(seat, now)
        if seat.state is State.STOPPING and seat.failed is not None and not seat.served:
            return refusals.backing_off(seat, now)
        if seat.spec.max_queue is not None and len(seat.queue) >= seat.spec.max_queue:
            return refusals.queue_full(seat, now)
        return None

    def _request_withdrawn(self, event: ev.RequestWithdrawn, now: float) -> None:
        seat = self._requests.get(event.request)
        if seat is None:
            return
        if event.request not in seat.queue:
            self._lease_returned(ev.LeaseReturned(event.request), now)
            return
        seat.queue.remove(event.request)
        del self._requests[event.request]
        self._dirty = True
        self._arm(seat)

    def _lease_returned(self, event: ev.LeaseReturned, now: float) -> None:
        seat = self._requests.get(event.request)
        if seat is None or event.request not in seat.leases:
            return
        del self._requests[event.request]
        seat.give_back(event.request, now)
        if seat.queue.waiting and seat.state is State.READY:
            self._serve(seat, now)
        elif not seat.leases:
            if seat.state is State.DRAINING:
                self._let_go(seat, Cause.DRAINED, now)
                return
            if self._tense:
                self._dirty = True
            if self._alarms.at(seat.name) > seat.idle_deadline():
                self._arm(seat)

    def _grant(self, seat: ModelState, request: int, key: str, now: float) -> None:
        assert seat.run is not None
        seat.grant(request, key, now)
        self._requests[request] = seat
        self._out.append(do.GrantLease(request, seat.name, seat.run))

    def _serve(self, seat: ModelState, now: float) -> None:
        while seat.queue and seat.slots():
            waiting = seat.queue.pop(seat.held_by, now)
            self._grant(seat, waiting.request, waiting.key, now)

    def _refuse(self, request: int, refusal: Refusal) -> None:
        self._requests.pop(request, None)
        self._out.append(do.RefuseRequest(request, refusal))

    def _refuse_queue(self, seat: ModelState, refusal: Refusal) -> None:
        for waiting in seat.queue.clear():
            self._refuse(waiting.request, refusal)
        self._arm(seat)

    def _break_leases(self, seat: ModelState, reason: Reason, now: float) -> None:
        assert seat.run is not None
        for request in list(seat.leases):
            seat.give_back(request, now)
            del self._requests[request]
            self._out.append(do.BreakLease(request, seat.name, seat.run, reason))

    # reports of runs

    def _current(self, model: str, run: int) -> ModelState | None:
        """The seat that this report speaks of; ``None`` for a report of an old run."""
        seat = self._seats.get(model)
        return seat if seat is not None and seat.run == run else None

    def _probe_passed(self, event: ev.ProbePassed, now: float) -> None:
        seat = self._current(event.model, event.run)
        if seat is None or seat.state not in LOADING:
            return
        took_s = now - seat.since
        if seat.state is State.STARTING and not seat.adopted:
            seat.last_start_s = took_s
            seat.start_cost_s = learned(seat.start_cost_s, took_s)
        elif seat.state is State.WAKING:
            seat.wake_cost_s = learned(seat.wake_cost_s, took_s)
        self._ready(seat, Cause.PROBE_PASSED, now)

    def _ready(self, seat: ModelState, cause: Cause, now: float) -> None:
        seat.ready_since = seat.idle_since = now
        seat.served, seat.requested = True, False
        self._move(seat, State.READY, cause, now)
        self._serve(seat, now)
        seat.peak = seat.demand

    def _start_failed(self, event: ev.StartFailed, now: float) -> None:
        seat = self._current(event.model, event.run)
        if seat is None:
            return
        if seat.state is State.STARTING:
            self._died(seat, Cause.START_FAILED, event.reason, now)
        elif seat.state is State.STOPPING:
            self._stopped(seat, now)

    def _run_exited(self, event: ev.RunExited, now: float) -> None:
        seat = self._current(event.model, event.run)
        if seat is None:
            return
        seat.reset_failures(now)
        if seat.state is State.STOPPING:
            self._stopped(seat, now)
            return
        self._break_leases(seat, event.reason, now)
        if seat.state in (State.SUSPENDING, State.WAKING):
            seat.distrusts_sleep = True
        if event.outside:
            seat.reason = event.reason
            self._refuse_queue(seat, refusals.stopped(seat))
            self._move(seat, State.STOPPED, Cause.STOPPED_OUTSIDE, now, event.reason)
        elif seat.state is State.WAKING:
            seat.reason = event.reason
            self._move(seat, State.STOPPED, Cause.WAKE_FAILED, now, event.reason)
        elif seat.state is State.STARTING:
            self._died(seat, Cause.START_FAILED, event.reason, now)
        else:
            self._died(seat, Cause.CRASHED, event.reason, now)

    def _stopped(self, seat: ModelState, now: float) -> None:
        """The exit that was ordered is confirmed."""
        if seat.failed is not None:
            self._died(seat, Cause.EXITED, seat.failed, now)
        else:
            self._move(seat, State.STOPPED, Cause.EXITED, now)

    def _died(self, seat: ModelState, cause: Cause, reason: Reason, now: float) -> None:
        seat.failures += 1
        seat.reason = reason
        if seat.served and seat.failures == 1 and not reason.permanent:
            self._move(seat, State.STOPPED, cause, now, reason)
            return
        self._back_off(seat, cause, reason, now)

    def _back_off(self, seat: ModelState, cause: Cause, reason: Reason, now: float) -> None:
        seat.backoff_until = now + policy.backoff_s(seat.backoffs, self._luck())
        seat.backoffs += 1
        seat.requested = False
        self._move(seat, State.BACKOFF, cause, now, reason)
        self._refuse_queue(seat, refusals.backing_off(seat, now))

    # files that are not there yet

    def _files_seen(self, event: ev.FilesSeen, now: float) -> None:
        seat = self._seats.get(event.model)
        if seat is None or seat.spec.download_timeout_s is None or seat.state is State.DOWNLOADING:
            return
        seat.files_missing = not event.here
        self._want(seat)

    def _downloading(self, model: str, download: int) -> ModelState | None:
        """The seat that this report speaks of; ``None`` for a report of an old download."""
        seat = self._seats.get(model)
        return seat if seat is not None and seat.download == download else None

    def _downloaded(self, event: ev.Downloaded, now: float) -> None:
        if (seat := self._downloading(event.model, event.download)) is not None:
            seat.files_missing, seat.downloaded_at = False, now
            self._move(seat, State.STOPPED, Cause.DOWNLOADED, now)

    def _download_failed(self, event: ev.DownloadFailed, now: float) -> None:
        if (seat := self._downloading(event.model, event.download)) is not None:
            seat.failures, seat.reason = seat.failures + 1, event.reason
            self._back_off(seat, Cause.DOWNLOAD_FAILED, event.reason, now)

    def _download(self, seat: ModelState, now: float) -> None:
        self._downloads += 1
        self._move(seat, State.DOWNLOADING, self._why(seat), now)
        seat.download = self._downloads
        self._out.append(do.StartDownload(seat.name, seat.download))

    def _end_download(self, seat: ModelState) -> None:
        assert seat.download is not None
        self._out.append(do.StopDownload(seat.name, seat.download))

    def _run_unhealthy(self, event: ev.RunUnhealthy, now: float) -> None:
        seat = self._current(event.model, event.run)
        if seat is None or seat.state not in HOLDS_LEASES:
            return
        self._break_leases(seat, event.reason, now)
        seat.failed = event.reason
        self._stop(seat, Cause.UNHEALTHY, now, event.reason)

    def _run_slept(self, event: ev.RunSlept, now: float) -> None:
        seat = self._current(event.model, event.run)
        found = seat is not None and seat.state is State.STARTING and seat.adopted
        if seat is None or not (seat.state is State.SUSPENDING or found):
            return
        if event.leftover is not None:
            seat.leftover = dict(event.leftover)
        if not policy.fits(seat.leftover, seat.run_footprint):
            self._distrust(seat, Cause.SLEEP_FAILED, Reason(summary="takes more asleep than awake"), now)
            return
        seat.served = True
        self._move(seat, State.ASLEEP, Cause.ADOPTED if found else Cause.SLEPT, now)

    def _sleep_failed(self, event: ev.SleepFailed, now: float) -> None:
        seat = self._current(event.model, event.run)
        if seat is not None and seat.state is State.SUSPENDING:
            self._distrust(seat, Cause.SLEEP_FAILED, event.reason, now)

    def _wake_failed(self, event: ev.WakeFailed, now: float) -> None:
        seat = self._current(event.model, event.run)
        if seat is not None and seat.state is State.WAKING:
            self._distrust(seat, Cause.WAKE_FAILED, event.reason, now)

    def _distrust(self, seat: ModelState, cause: Cause, reason: Reason, now: float) -> None:
        seat.distrusts_sleep, seat.reason = True, reason
        self._stop(seat, cause, now, reason)

    def _run_found(self, event: ev.RunFound, now: float) -> None:
        seat = self._seats.get(event.model)
        known = self._numbers.get(event.model, 0)
        if seat is None or seat.run is not None or event.run <= known or self._closing:
            return
        if seat.state is State.DOWNLOADING:
            self._end_download(seat)
        seat.run = self._numbers[event.model] = event.run
        seat.launched_at = now
        seat.run_footprint = seat.spec.footprint
        seat.run_fingerprint = event.fingerprint or seat.spec.fingerprint
        seat.served, seat.adopted, seat.unplanned = event.ready, True, True
        if event.ready:
            self._ready(seat, Cause.ADOPTED, now)
        else:
            self._move(seat, State.STARTING, Cause.ADOPTED, now)

    def _runs_recovered(self, event: ev.RunsRecovered, now: float) -> None:
        self._settled, self._dirty = True, True

    def _start_remembered(self, event: ev.StartRemembered, now: float) -> None:
        seat = self._seats.get(event.model)
        if seat is not None and seat.start_cost_s is None:
            seat.start_cost_s = event.seconds

    # orders of operators and of the configuration

    def _start_requested(self, event: ev.StartRequested, now: float) -> None:
        seat = self._seats.get(event.model)
        if seat is None or self._closing or seat.state is State.READY:
            return
        if seat.state is State.BACKOFF:
            self._move(seat, State.STOPPED, Cause.REQUESTED, now)
        seat.requested, seat.requested_at = True, now
        self._want(seat)

    def _stop_requested(self, event: ev.StopRequested, now: float) -> None:
        seat = self._seats.get(event.model)
        if seat is None:
            return
        seat.requested = False
        self._refuse_queue(seat, refusals.stopped(seat))
        if event.to_sleep and seat.state in (State.ASLEEP, State.SUSPENDING):
            return
        self._send_away(seat, Cause.REQUESTED, now, to_sleep=event.to_sleep and seat.sleeps)

    def _warmth_changed(self, event: ev.KeepWarmChanged, now: float) -> None:
        seat = self._seats.get(event.model)
        if seat is not None:
            seat.scheduled = event.warm
            self._set_warm(seat)

    def _set_warm(self, seat: ModelState) -> None:
        seat.warm = seat.spec.warm or seat.scheduled or self._box.return_to == seat.name
        self._want(seat)
        self._arm(seat)

    def _runtime_changed(self, event: ev.RuntimeChanged, now: float) -> None:
        for seat in [self._seats[name] for name in event.models if name in self._seats]:
            seat.unusable = event.why
            self._want(seat)

    def _box_configured(self, event: ev.SchedulerConfigured, now: float) -> None:
        known = [seat for seat in self._seats.values() if seat.name in event.scheduler.models]
        others = [seat for seat in known if not _same_files(seat.spec, event.scheduler.models[seat.name])]
        self._configure(event.scheduler)
        for seat in others:
            if seat.state is State.DOWNLOADING:
                self._send_away(seat, Cause.CONFIGURED, now)
        for seat in self._seats.values():
            if seat.state is State.READY:  # it may hold more leases at once now
                self._serve(seat, now)
        for seat in [s for s in self._seats.values() if s.name not in event.scheduler.models]:
            seat.retired, seat.requested, seat.warm, seat.scheduled = True, False, False, False
            self._refuse_queue(seat, refusals.unknown(seat.name))
            self._send_away(seat, Cause.CONFIGURED, now)
            self._forget(seat)

    def _configure(self, box: SchedulerSpec) -> None:
        if box.budget != self._box.budget:
            for resident in self._residents.values():
                resident.unplanned = True
        self._box = box
        self._longest_drain_s = max((s.drain_timeout_s for s in box.models.values()), default=0.0)
        self._dirty = True
        for name, spec in box.models.items():
            seat = self._seats.get(name)
            new = seat is None
            if seat is None:
                seat = self._seats[name] = ModelState(spec)
            if new or not _same_files(seat.spec, spec):
                seat.files_missing = spec.download_timeout_s is not None  # until somebody has looked
            seat.spec, seat.retired = spec, False
            if seat.run is not None and not seat.stale and seat.run_footprint != spec.footprint:
                # Launched as it would be today: what is said of its memory now is said of this run.
                seat.run_footprint, seat.unplanned = spec.footprint, True
            seat.expect_leftover()
            self._set_warm(seat)

    def _forget(self, seat: ModelState) -> None:
        if seat.retired and seat.run is None:
            self._seats.pop(seat.name, None)
            self._wanting.pop(seat.name, None)
            self._alarms.forget(seat.name)

    def _shutdown_requested(self, event: ev.ShutdownRequested, now: float) -> None:
        self._closing = event
        for seat in self._seats.values():
            seat.requested = False
            self._refuse_queue(seat, refusals.shutting_down(seat))
            if not event.leave_running or self._cannot_be_left(seat):
                self._send_away(seat, Cause.SHUTDOWN, now)

    def _cannot_be_left(self, seat: ModelState) -> bool:
        """What must still be told something before we go: it streams through us, or is not whole."""
        if seat.state is State.DRAINING:
            return seat.leaving is Cause.EVICTED
        unfinished = (*LOADING, State.DOWNLOADING, State.ASLEEP, State.SUSPENDING)
        return bool(seat.leases) or seat.state in unfinished

    # moves

    def _move(
        self, seat: ModelState, new: State, cause: Cause, now: float, reason: Reason | None = None
    ) -> None:
        old, run, took_s, needed_by = seat.state, seat.run, now - seat.since, seat.needed_by
        seat.move(new, cause, now)
        if seat.run is None:
            self._residents.pop(seat.name, None)
        else:
            self._residents[seat.name] = seat
        self._out.append(do.ReportMove(seat.name, run, old, new, cause, reason, took_s, needed_by))
        self._want(seat)
        self._forget(seat)
        self._arm(seat)
        self._dirty = True

    def _why(self, seat: ModelState) -> Cause:
        """Why it is wanted."""
        return Cause.DEMAND if seat.queue else Cause.REQUESTED if seat.requested else Cause.PRELOAD

    def _launch(self, seat: ModelState, now: float) -> None:
        cause = self._why(seat)
        seat.ordered_at = now
        if seat.state is State.ASLEEP:
            assert seat.run is not None
            self._move(seat, State.WAKING, cause, now)
            seat.expect_leftover()
            self._out.append(do.WakeRun(seat.name, seat.run))
            return
        seat.run = self._numbers[seat.name] = self._numbers.get(seat.name, 0) + 1
        seat.starts += 1
        seat.launched_at = now
        seat.served = seat.adopted = seat.unplanned = False
        seat.run_footprint, seat.run_fingerprint = seat.spec.footprint, seat.spec.fingerprint
        seat.expect_leftover()
        self._move(seat, State.STARTING, cause, now)
        self._out.append(do.StartRun(seat.name, seat.run))

    def _stop(self, seat: ModelState, cause: Cause, now: float, reason: Reason | None = None) -> None:
        assert seat.run is not None
        seat.ordered_at = now
        self._move(seat, State.STOPPING, cause, now, reason)
        self._out.append(do.StopRun(seat.name, seat.run))

    def _send_away(self, seat: ModelState, cause: Cause, now: float, to_sleep: bool = False) -> None:
        """Drain it and have it stop (or sleep), from whatever it does now; nothing to do if it has no run."""
        if seat.state is State.READY and seat.leases:
            seat.leaving, seat.to_sleep = cause, to_sleep
            self._move(seat, State.DRAINING, cause, now)
        elif seat.state is State.READY:
            seat.to_sleep = to_sleep
            self._let_go(seat, cause, now)
        elif seat.state is State.DRAINING:  # a further reason to go; none but an eviction may be called off
            seat.leaving = seat.leaving if cause is Cause.EVICTED else cause
            seat.to_sleep = to_sleep and cause is Cause.EVICTED
        elif seat.state in LOADING:
            self._stop(seat, Cause.ABANDONED if cause is Cause.EVICTED else cause, now)
        elif seat.state in (State.ASLEEP, State.SUSPENDING):
            self._stop(seat, cause, now)
        elif seat.state is State.DOWNLOADING:
            self._end_download(seat)
            self._move(seat, State.STOPPED, cause, now)

    def _let_go(self, seat: ModelState, cause: Cause, now: float) -> None:
        """Nobody uses it any more: tell it to stop, or to sleep."""
        if seat.leaving is Cause.SHUTDOWN and self._closing and self._closing.leave_running:
            seat.leaving = None
            self._move(seat, State.READY, cause, now)
        elif seat.to_sleep and self._find_bed(seat, now):
            assert seat.run is not None
            seat.ordered_at = now
            self._move(seat, State.SUSPENDING, cause, now)
            self._out.append(do.SleepRun(seat.name, seat.run))
        else:
            self._stop(seat, cause, now)

    def _find_bed(self, seat: ModelState, now: float) -> bool:
        """Make room in host memory for one more sleeper; false if it cannot be."""
        leaving = free_host_memory(seat, self._residents.values(), self._box.host_sleep_mib)
        for sleeper in leaving or ():
            self._stop(sleeper, Cause.EVICTED, now)
        return leaving is not None

    # time

    def _arm(self, seat: ModelState) -> None:
        self._alarms.set(seat.name, min(seat.deadline(), self._wait_deadline(seat)))

    def _wait_deadline(self, seat: ModelState) -> float:
        """When the oldest of its queue has waited as long as it may."""
        if not seat.queue:
            return NEVER
        since = seat.queue.oldest().since
        limit_s = seat.spec.wait_limit_s
        if limit_s is None:
            if seat.state in LOADING or seat.state is State.DOWNLOADING:  # bounded by its own deadline
                return NEVER
            since = max(since, seat.downloaded_at)
            wait_s = seat.spec.max_wait_s
            if wait_s is None:
                wait_s = self._patience_s
            limit_s = wait_s + self._longest_drain_s + seat.spec.start_timeout_s
        return since + limit_s

    def _time_passed(self, event: ev.TimePassed, now: float) -> None:
        for name in self._alarms.due(now):
            if (seat := self._seats.get(name)) is not None:
                self._overdue(seat, now)
                self._arm(seat)
        if self._plan_at <= now:
            self._dirty = True

    def _overdue(self, seat: ModelState, now: float) -> None:
        """Look at a seat whose deadline may have come."""
        while now >= self._wait_deadline(seat):
            waiting = seat.queue.oldest()
            seat.queue.remove(waiting.request)
            self._refuse(waiting.request, refusals.waited_too_long(seat, now - waiting.since))
            self._dirty = True
        if now < seat.deadline():
            return
        match seat.state:
            case State.STARTING:
                seat.failed = Reason(summary=f"not ready within {seat.spec.start_timeout_s:g} s")
                self._refuse_queue(seat, refusals.start_timeout(seat))
                self._stop(seat, Cause.START_TIMEOUT, now, seat.failed)
            case State.DOWNLOADING:
                self._end_download(seat)
                seat.failures += 1
                seat.reason = Reason(summary=f"not downloaded within {seat.spec.download_timeout_s:g} s")
                self._back_off(seat, Cause.DOWNLOAD_FAILED, seat.reason, now)
            case State.WAKING:
                reason = Reason(summary=f"not awake within {seat.spec.start_timeout_s:g} s")
                self._distrust(seat, Cause.WAKE_FAILED, reason, now)
            case State.SUSPENDING:
                reason = Reason(summary=f"not asleep within {seat.spec.drain_timeout_s:g} s")
                self._distrust(seat, Cause.SLEEP_FAILED, reason, now)
            case State.READY:
                seat.idle_stops += 1
                self._send_away(seat, Cause.IDLE, now, to_sleep=seat.sleeps)
            case State.DRAINING:
                words = f"cut off after {seat.spec.drain_timeout_s:g} s of draining"
                reason = Reason(summary=words, alive=True)
                self._break_leases(seat, reason, now)
                self._let_go(seat, Cause.DRAIN_DEADLINE, now)
            case State.STOPPING:
                assert seat.run is not None
                seat.ordered_at = now
                self._out.append(do.StopRun(seat.name, seat.run))
            case State.ASLEEP:
                self._stop(seat, Cause.IDLE, now)
            case State.BACKOFF:
                self._move(seat, State.STOPPED, Cause.COOLED_DOWN, now)
            case State.STOPPED:
                pass

    # the plan

    def _want(self, seat: ModelState) -> None:
        """Put it in line if somebody wants it and it has no run that could serve."""
        if seat.unusable is not None and seat.state in (State.STOPPED, State.ASLEEP):
            self._refuse_queue(seat, refusals.unusable(seat.name, seat.unusable))
            seat.requested = False
        if seat.state in (State.STOPPED, State.ASLEEP) and (seat.queue or seat.requested or seat.warm):
            self._wanting[seat.name] = seat
            self._dirty = True

    def _in_line(self, seat: ModelState) -> bool:
        """Whether it may be launched when there is room."""
        return self._is_to_come(seat) and not self._lacks_files(seat)

    def _is_to_come(self, seat: ModelState) -> bool:
        wanted = bool(seat.queue) or seat.requested or seat.warm
        return wanted and seat.state in (State.STOPPED, State.ASLEEP) and seat.unusable is None

    def _lacks_files(self, seat: ModelState) -> bool:
        """A sleeper has them in memory."""
        return seat.files_missing and seat.state is State.STOPPED

    def _replan(self, now: float) -> None:
        if not self._settled:
            self._dirty = False
            return
        self._tense = False
        for seat in [s for s in self._residents.values() if s.stale]:
            if seat.state is State.ASLEEP or (seat.state is State.READY and seat.quiet):
                self._send_away(seat, Cause.CONFIGURED, now)
            else:
                self._tense = True
        if self._closing:
            self._wanting.clear()
        for seat in [s for s in self._wanting.values() if self._lacks_files(s) and self._is_to_come(s)]:
            self._download(seat, now)
        self._wanting = {name: seat for name, seat in self._wanting.items() if self._in_line(seat)}
        plan = make_plan(self._wanting.values(), self._residents.values(), self._box.budget, now)
        self._carry_out(plan, now)
        self._plan_at, self._tense = plan.again_at, self._tense or plan.contended
        self._patience_s = plan.patience_s
        self._dirty = False

    def _carry_out(self, plan: Plan, now: float) -> None:
        for seat in plan.infeasible:
            refusal = refusals.no_room(seat, self._box.budget)
            seat.requested, seat.reason = False, Reason(summary=refusal.message, permanent=True)
            self._refuse_queue(seat, refusal)
        for seat in plan.call_off:
            seat.leaving, seat.needed_by, seat.requested = None, None, False
            self._move(seat, State.READY, Cause.CALLED_OFF, now)
            self._serve(seat, now)
        for seat in plan.launch:  # before evictions: one that is put to sleep may cost a sleeper its bed
            del self._wanting[seat.name]
            self._launch(seat, now)
        for eviction in plan.evict:
            victim = eviction.victim
            if victim.state is not State.DRAINING:
                victim.evictions += 1
            victim.needed_by = eviction.needed_by.name
            self._send_away(victim, Cause.EVICTED, now, eviction.to_sleep)

    def check(self) -> None:
        """Raise ``AssertionError`` where an invariant does not hold (for tests and the simulator)."""
        invariants.check(self._seats, self._requests, self._residents, self._box, self._alarms)


def _same_files(old: SchedulingSpec, new: SchedulingSpec) -> bool:
    """Whether both need the same files."""
    never = (old.download_timeout_s is None, new.download_timeout_s is None)
    return never[0] == never[1] and old.fingerprint == new.fingerprint


_GOING = (State.DRAINING, State.STOPPING, State.SUSPENDING)
_MAY_SERVE = HOLDS_LEASES | LOADING
