"""Two simpler scheduling policies for comparison: first come, first served, and swap on demand."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core import policy
from hotseat.core.spec import SchedulerSpec, SchedulingSpec
from hotseat.core.states import State


@dataclass(slots=True)
class _Model:
    spec: SchedulingSpec
    state: State = State.STOPPED
    run: int = 0
    leases: set[int] = field(default_factory=set)
    used_at: float = 0.0
    leaving: bool = False


class _Baseline:
    """Common part of both policies: memory, leases, stopping idle models, one run of each model at most."""

    def __init__(self, spec: SchedulerSpec) -> None:
        self._models = {name: _Model(model) for name, model in spec.models.items()}
        self._free: policy.Free = dict(spec.budget)
        self._running: dict[str, _Model] = {}
        self._queue: deque[tuple[int, str]] = deque()
        self._leased: dict[int, _Model] = {}
        self._out: list[do.Effect] = []

    @property
    def wake_at(self) -> float:
        """Time at which the next model has been idle for long enough."""
        return min((self._idle_at(m) for m in self._running.values()), default=float("inf"))

    def _idle_at(self, model: _Model) -> float:
        if model.state is not State.READY or model.leases or model.spec.idle_s is None:
            return float("inf")
        return model.used_at + model.spec.idle_s

    def handle(self, event: ev.Event, now: float) -> list[do.Effect]:
        """Handle an event; returns the effects in order."""
        match event:
            case ev.RequestArrived(request, name):
                self._queue.append((request, name))
            case ev.LeaseReturned(request):
                model = self._leased.pop(request)
                model.leases.discard(request)
                model.used_at = now
            case ev.ProbePassed(name, run) if self._models[name].run == run:
                if self._models[name].state is State.STARTING:
                    self._models[name].state = State.READY
                    self._models[name].used_at = now
            case ev.RunExited(name):
                model = self._running.pop(name)
                model.state = State.STOPPED
                policy.add(self._free, model.spec.footprint)
            case _:
                for model in list(self._running.values()):
                    if self._idle_at(model) <= now:
                        self._stop(model)
        self._serve(now)
        for model in list(self._running.values()):
            if model.leaving and not model.leases and model.state is State.READY:
                self._stop(model)
        out, self._out = self._out, []
        return out

    def _serve(self, now: float) -> None:
        raise NotImplementedError

    def _grant(self, request: int, model: _Model, now: float) -> None:
        model.leases.add(request)
        model.used_at = now
        self._leased[request] = model
        self._out.append(do.GrantLease(request, model.spec.name, model.run))

    def _start_or_evict(self, model: _Model) -> None:
        """Start it if it fits, else evict the models used least recently until it will fit."""
        if model.state is not State.STOPPED:
            return
        need = model.spec.footprint
        if policy.fits(need, self._free):
            model.state, model.run, model.leaving = State.STARTING, model.run + 1, False
            policy.add(self._free, need, -1)
            self._running[model.spec.name] = model
            self._out.append(do.StartRun(model.spec.name, model.run))
            return
        soon = dict(self._free)
        for other in self._running.values():
            if other.leaving:
                policy.add(soon, other.spec.footprint)
        for other in sorted(self._running.values(), key=lambda m: (bool(m.leases), m.used_at)):
            if policy.fits(need, soon):
                return
            if other.state is State.READY and not other.leaving:
                other.leaving = True
                policy.add(soon, other.spec.footprint)

    def _stop(self, model: _Model) -> None:
        model.state, model.leaving = State.STOPPING, True
        self._out.append(do.StopRun(model.spec.name, model.run))


class FirstCome(_Baseline):
    """Strictly in the order of arrival: no request is served before an earlier one."""

    def _serve(self, now: float) -> None:
        while self._queue:
            request, name = self._queue[0]
            model = self._models[name]
            if model.state is not State.READY or model.leaving:
                self._start_or_evict(model)
                return
            self._queue.popleft()
            self._grant(request, model, now)


class SwapOnDemand(_Baseline):
    """A request for a model that does not run evicts the model used least recently, at once."""

    def _serve(self, now: float) -> None:
        left: deque[tuple[int, str]] = deque()
        for request, name in self._queue:
            model = self._models[name]
            if model.state is State.READY and not model.leaving:
                self._grant(request, model, now)
                continue
            left.append((request, name))
        self._queue = left
        for name in dict.fromkeys(name for _, name in left):
            self._start_or_evict(self._models[name])
            if self._models[name].state is State.STOPPED:
                return
