"""A small language for tests of the core: time is an argument, nothing sleeps, invariants are checked.

s = Story(model("chat"), model("coder"))
ana = s.ask("chat")
s.ready("chat", after=2)
assert s.holds(ana)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core.errors import Code, Reason, Refusal
from hotseat.core.model_state import ModelState
from hotseat.core.scheduler import Scheduler
from hotseat.core.spec import PPM, SchedulerSpec, SchedulingSpec, SleepSpec
from hotseat.core.states import Cause, State

CRASH = Reason(summary="exited with code 3", exit_code=3)
ENDED = Reason(summary="stopped")


def shares(share: float | Mapping[str, float]) -> dict[str, int]:
    """0.5 is half of device 0; a mapping names its devices."""
    by_device = {"0": share} if isinstance(share, int | float) else share
    return {device: round(part * PPM) for device, part in by_device.items()}


def model(name: str, share: float | Mapping[str, float] = 1.0, **terms: Any) -> SchedulingSpec:
    """A model that takes all GPU memory unless told otherwise."""
    return SchedulingSpec(name=name, footprint=shares(share), **terms)


def sleeper(leftover: float = 0.05, **terms: Any) -> SleepSpec:
    """Sleep settings with this leftover on device 0."""
    return SleepSpec(leftover=shares(leftover), **terms)


def machine(
    *models: SchedulingSpec, budget: float | Mapping[str, float] = 1.0, **terms: Any
) -> SchedulerSpec:
    """A machine with one whole device unless told otherwise."""
    return SchedulerSpec(budget=shares(budget), models={spec.name: spec for spec in models}, **terms)


class Story:
    """One scheduler, its clock, and the effects it has returned."""

    def __init__(
        self,
        *models: SchedulingSpec,
        budget: float | Mapping[str, float] = 1.0,
        jitter: float = 0.0,
        **terms: Any,
    ) -> None:
        self.core = Scheduler(machine(*models, budget=budget, **terms), lambda: jitter)
        self.now = 0.0
        self.orders: list[str] = []
        """Orders to the runtimes, as ``start chat#1``."""
        self.moves: list[do.ReportMove] = []
        self.granted: dict[int, tuple[str, int]] = {}
        self.refused: dict[int, Refusal] = {}
        self.broken: dict[int, Reason] = {}
        self._last = 0
        self.tell(ev.TimePassed())

    def tell(self, event: ev.Event) -> list[do.Effect]:
        """Something happens now."""
        effects = self.core.handle(event, self.now)
        self.core.check()
        for effect in effects:
            self._note(effect)
        return effects

    def _note(self, effect: do.Effect) -> None:
        match effect:
            case do.GrantLease(request, name, run):
                assert request not in self.granted, f"{request} is answered twice"
                assert request not in self.refused, f"{request} is answered twice"
                self.granted[request] = (name, run)
            case do.RefuseRequest(request, refusal):
                assert request not in self.granted, f"{request} is answered twice"
                assert request not in self.refused, f"{request} is answered twice"
                self.refused[request] = refusal
            case do.BreakLease(request, _, _, reason):
                self.broken[request] = reason
            case do.ReportMove():
                self.moves.append(effect)
            case do.StartDownload(name, download):
                self.orders.append(f"download {name}#{download}")
            case do.StopDownload(name, download):
                self.orders.append(f"end download {name}#{download}")
            case do.StartRun(name, run):
                self.orders.append(f"start {name}#{run}")
            case do.PrepareRun(name, run, _):
                self.orders.append(f"prepare {name}#{run}")
            case do.AdmitRun(name, run):
                self.orders.append(f"admit {name}#{run}")
            case do.StopRun(name, run):
                self.orders.append(f"stop {name}#{run}")
            case do.SleepRun(name, run):
                self.orders.append(f"sleep {name}#{run}")
            case do.WakeRun(name, run):
                self.orders.append(f"wake {name}#{run}")

    # time

    def pass_time(self, seconds: float) -> None:
        """Let time pass, ringing whenever the core asked for it."""
        self.until(self.now + seconds)

    def until(self, at: float) -> None:
        """Let time pass up to ``at``."""
        rung = 0
        while self.core.wake_at <= at:
            rung = rung + 1 if self.core.wake_at <= self.now else 0
            assert rung < 10, f"it wants to be woken at {self.core.wake_at} again and again"
            self.now = max(self.now, self.core.wake_at)
            self.tell(ev.TimePassed())
        self.now = at

    @contextmanager
    def plan_later(self) -> Iterator[None]:
        """Plan nothing inside the block; at its end, plan once for all that happened."""
        self.core.state.recovered = False
        yield
        self.tell(ev.RunsRecovered())

    # clients

    def ask(
        self, name: str, *, key: str = "", priority: int = 0, endpoint: str = "", may_evict: bool = True
    ) -> int:
        """A client asks for a lease; returns the request's number."""
        self._last += 1
        self.tell(ev.RequestArrived(self._last, name, priority, key, endpoint, may_evict))
        return self._last

    def give_back(self, *requests: int) -> None:
        """The last byte has gone."""
        for request in requests:
            self.tell(ev.LeaseReturned(request))

    def withdraw(self, *requests: int) -> None:
        """Clients that wait go away."""
        for request in requests:
            self.tell(ev.RequestWithdrawn(request))

    def serve(self, name: str, seconds: float = 1.0) -> int:
        """A request that is granted at once and takes so long."""
        request = self.ask(name)
        assert self.holds(request), f"{name} is {self.state(name)}"
        self.pass_time(seconds)
        self.give_back(request)
        return request

    def holds(self, request: int) -> bool:
        """Whether the request was granted and not broken."""
        return request in self.granted and request not in self.broken

    def waits(self, request: int) -> bool:
        """Whether the request has no answer yet."""
        return request not in self.granted and request not in self.refused

    def code(self, request: int) -> Code:
        """Why it was refused."""
        return self.refused[request].code

    # reports of runs

    def run(self, name: str) -> int:
        """The number of its current run."""
        run = self.core.view(name).run
        assert run is not None, f"{name} has no run"
        return run

    def ready(self, name: str, after: float = 0.0) -> None:
        """Its probe passes."""
        self.pass_time(after)
        self.tell(ev.ProbePassed(name, self.run(name)))

    def gone(self, name: str, after: float = 0.0) -> None:
        """Its exit, that was ordered, is confirmed."""
        self.pass_time(after)
        assert self.state(name) is State.STOPPING
        self.tell(ev.RunExited(name, self.run(name), ENDED))

    def dies(self, name: str, reason: Reason = CRASH) -> None:
        """It exits, and nobody asked for it."""
        self.tell(ev.RunExited(name, self.run(name), reason))

    def gate(self, *names: str) -> None:
        """A run of each was seen to stop at its gate."""
        for name in names:
            self.tell(ev.GateSeen(name, self.core.state.models[name].spec.fingerprint))

    def prepared(self, name: str, after: float = 0.0, host_mib: int | None = None) -> None:
        """It stands by."""
        self.pass_time(after)
        self.tell(ev.RunPrepared(name, self.run(name), host_mib))

    def slept(self, name: str, leftover: float | None = None) -> None:
        """It sleeps."""
        taken = None if leftover is None else shares(leftover)
        self.tell(ev.RunSlept(name, self.run(name), taken))

    def up(self, name: str, cost: float = 2.0) -> None:
        """Have it started by a request that goes at once, and leave it quiet."""
        request = self.ask(name)
        self.ready(name, after=cost)
        assert self.holds(request), f"{name} is {self.state(name)}"
        self.give_back(request)

    # looking

    def record(self, name: str) -> ModelState:
        """The record of a model."""
        return self.core.state.models[name]

    def state(self, name: str) -> State:
        """The state of a model."""
        return self.core.state_of(name)

    def causes(self, name: str) -> list[Cause]:
        """Why it moved, from the first move on."""
        return [move.cause for move in self.moves if move.model == name]

    def since_last(self) -> list[str]:
        """The orders since this was asked last."""
        orders, self.orders = self.orders, []
        return orders
