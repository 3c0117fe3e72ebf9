"""Random histories: what clients, operators, runs and runtimes may do to a scheduler, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from core_world import ENDED, Process, World
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from hotseat.core import events as ev
from hotseat.core.errors import Reason
from hotseat.core.spec import PPM, SchedulerSpec, SchedulingSpec, SleepSpec, StandbyMode

T = TypeVar("T")
PENDING = ("preparing", "starting", "waking", "stopping", "falling asleep")
NAMES = ("ada", "bob", "cyd", "dan")
CRASH = Reason(summary="exited with code 3", exit_code=3)
HOPELESS = Reason(summary="command not found", permanent=True)

moments = st.sampled_from([0.0, 0.01, 0.4, 1.0, 3.0, 9.0, 31.0, 65.0, 400.0])
portions = st.sampled_from([0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9, 1.0])
which = st.integers(0, 1000)
priorities = st.sampled_from([0, 0, 0, 1, -1, 5])
leftovers = st.sampled_from([None, None, 0, 2, 8, 12])
ways_to_fail = st.sampled_from(["ends", "says", "outside"])
budgets = st.sampled_from([900_000, PPM, 700_000])


@st.composite
def footprints(draw: st.DrawFn, devices: int) -> dict[str, int]:
    """On one device, or on both."""
    chosen = draw(st.sampled_from(["0"] if devices == 1 else ["0", "1", "01"]))
    return {device: round(draw(portions) * PPM) for device in chosen}


@st.composite
def sleep_terms(draw: st.DrawFn, footprint: dict[str, int]) -> SleepSpec:
    """It frees something at least."""
    tenths = draw(st.integers(0, 3))
    return SleepSpec(
        level=draw(st.sampled_from([1, 2])),
        leftover={device: ppm * tenths // 10 for device, ppm in footprint.items()},
        host_mib=draw(st.sampled_from([0, 10, 30])),
        idle_s=draw(st.sampled_from([None, 20.0])),
    )


@st.composite
def specs(draw: st.DrawFn, name: str, devices: int) -> SchedulingSpec:
    """A model with random terms."""
    footprint = draw(footprints(devices))
    return SchedulingSpec(
        name=name,
        footprint=footprint,
        idle_s=draw(st.sampled_from([None, 0.5, 30.0, 1800.0])),
        start_timeout_s=draw(st.sampled_from([30.0, 300.0])),
        download_timeout_s=draw(st.sampled_from([None, None, None, 50.0, 1000.0])),
        drain_timeout_s=draw(st.sampled_from([0.0, 5.0, 60.0])),
        residency_s=draw(st.sampled_from([None, None, None, 0.0, 20.0])),
        max_wait_s=draw(st.sampled_from([None, None, 0.0, 15.0])),
        pinned=draw(st.sampled_from([False] * 7 + [True])),
        warm=draw(st.sampled_from([False] * 4 + [True])),
        priority=draw(st.sampled_from([0, 0, 0, -1, 2])),
        max_in_flight=draw(st.sampled_from([None, 1, 2])),
        max_queue=draw(st.sampled_from([None, None, 3])),
        wait_limit_s=draw(st.sampled_from([None, None, None, 12.0])),
        sleep=draw(st.none() | sleep_terms(footprint) if draw(st.booleans()) else sleep_terms(footprint)),
        standby=draw(st.sampled_from([*StandbyMode])),
        standby_mib=draw(st.sampled_from([0, 10, 30])),
        fingerprint=draw(st.sampled_from(["", "old", "new"])),
    )


@st.composite
def configs(draw: st.DrawFn) -> SchedulerSpec:
    """A machine with one or two devices and a few models."""
    devices = draw(st.sampled_from([1, 1, 2]))
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    return SchedulerSpec(
        budget={str(device): draw(st.sampled_from([900_000, PPM])) for device in range(devices)},
        models={name: draw(specs(name, devices)) for name in names},
        host_sleep_mib=draw(st.sampled_from([None, None, 35])),
        return_to=draw(st.sampled_from([None, None, None, names[0]])),
    )


class Histories(RuleBasedStateMachine):
    """One world, and everything that may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @initialize(config=configs(), jitter=st.sampled_from([0.0, 0.5, 1.0]))
    def begin(self, config: SchedulerSpec, jitter: float) -> None:
        self.world = World(config, jitter)

    @property
    def w(self) -> World:
        assert self.world is not None
        return self.world

    def name(self, index: int) -> str:
        names = sorted(self.w.scheduler.models)
        return names[index % len(names)]

    # clients

    @rule(
        index=which,
        key=st.sampled_from("xyz"),
        priority=priorities,
        crowd=st.integers(1, 4),
    )
    def clients_ask(self, index: int, key: str, priority: int, crowd: int) -> None:
        for _ in range(crowd):
            self.w.ask(self.name(index), key, priority)

    @rule(index=which, all_of_them=st.booleans())
    def responses_end(self, index: int, all_of_them: bool) -> None:
        holding = self.w.holding(self.name(index))
        for asked in holding if all_of_them else holding[:1]:
            if asked.run is not None:
                self.w.give_back(asked)

    @rule(index=which, all_of_them=st.booleans(), crossing=st.booleans())
    def clients_go(self, index: int, all_of_them: bool, crossing: bool) -> None:
        """``crossing``: the withdrawal crosses the grant, so it speaks of a lease."""
        if crossing and (asked := self.pick(self.w.holding(), index)):
            self.w.give_back(asked, ev.RequestWithdrawn(asked.request))
        waiting = self.w.waiting(self.name(index))
        for asked in waiting if all_of_them else waiting[-1:]:
            if not asked.answer:
                self.w.withdraw(asked)

    # time

    @rule(seconds=moments)
    def time_passes(self, seconds: float) -> None:
        self.w.pass_time(seconds)

    # runs

    def pick(self, things: Sequence[T], index: int) -> T | None:
        return things[index % len(things)] if things else None

    def runs(self, *doing: str) -> list[Process]:
        return [process for process in self.w.processes.values() if process.doing in doing]

    @rule(index=which, tenths=leftovers)
    def a_run_gets_on(self, index: int, tenths: int | None) -> None:
        if process := self.pick(self.runs(*PENDING), index):
            self.get_on(process, tenths)

    @rule(tenths=leftovers, rounds=st.integers(1, 4))
    def days_go_by(self, tenths: int | None, rounds: int) -> None:
        """All are asked for, everything gets on, all answers end, and it is quiet for a while."""
        for _ in range(rounds):
            for name in sorted(self.w.scheduler.models):
                self.w.ask(name)
            for name in sorted(self.w.downloads):
                self.w.download_ends(name)
            for _ in range(3):
                for process in self.runs(*PENDING):
                    self.get_on(process, tenths)
                for asked in self.w.holding():
                    if asked.run is not None:
                        self.w.give_back(asked)
                self.w.pass_time(16.0)

    def get_on(self, process: Process, tenths: int | None) -> None:
        if self.w.processes.get(process.model) is not process:
            return
        match process.doing:
            case "starting" if process.found and tenths == 2:  # an earlier hotseat left it asleep
                self.w.sleeps(process, None)
            case "starting" | "waking":
                self.w.passes_probe(process)
            case "preparing":
                self.w.prepared(process)
            case "stopping":
                self.w.ends(process, ENDED)
            case "falling asleep":
                taken = {device: ppm * (tenths or 0) // 10 for device, ppm in process.footprint.items()}
                self.w.sleeps(process, None if tenths is None else taken)

    @rule(index=which, reason=st.sampled_from([CRASH, CRASH, HOPELESS]), how=ways_to_fail)
    def a_run_fails(self, index: int, reason: Reason, how: str) -> None:
        process = self.pick(list(self.w.processes.values()), index)
        if process is None:
            return
        name, run = process.model, process.run
        match process.doing, how:
            case "serving" | "draining", "says":
                self.w.tell(ev.RunUnhealthy(name, run, reason))
            case "falling asleep", "says":
                self.w.tell(ev.SleepFailed(name, run, reason))
            case "waking", "says":
                self.w.tell(ev.WakeFailed(name, run, reason))
            case "preparing" | "standing by", "says":  # its gate did not hold it
                self.w.passes_probe(process)
            case "starting", "says":
                self.w.ends(process, reason, launched=False)
            case _:
                self.w.ends(process, reason, outside=how == "outside")
        if name not in self.w.processes or self.w.processes[name].doing == "stopping":
            assert not self.w.holding(name), "promise 3: a lease outlives its run"

    @rule(index=which, fingerprint=st.sampled_from(["", "old", "new", None]))
    def a_gate_is_seen(self, index: int, fingerprint: str | None) -> None:
        """``None``: of the present configuration, as it is nearly always."""
        name = self.name(index)
        self.w.gate_is_seen(
            name, self.w.scheduler.models[name].fingerprint if fingerprint is None else fingerprint
        )

    @rule()
    def gates_are_seen(self) -> None:
        for name, spec in sorted(self.w.scheduler.models.items()):
            self.w.gate_is_seen(name, spec.fingerprint)

    @rule(index=which, room=st.booleans())
    def there_is_no_room(self, index: int, room: bool) -> None:
        starting = [one for one in self.w.processes.values() if one.doing == "starting"]
        if (process := self.pick(starting, index)) is not None:
            self.w.tell(ev.RunUnplaced(process.model, process.run, None if room else CRASH))

    @rule(index=which, reason=st.sampled_from([None, None, CRASH, HOPELESS]))
    def a_download_ends(self, index: int, reason: Reason | None) -> None:
        if name := self.pick(sorted(self.w.downloads), index):
            self.w.download_ends(name, reason)

    @rule(index=which, here=st.booleans())
    def files_are_seen(self, index: int, here: bool) -> None:
        self.w.files_are_seen(self.name(index), here)

    @rule(index=which)
    def reports_of_old_downloads(self, index: int) -> None:
        if past := self.pick(self.w.past_downloads, index):
            self.w.noise(ev.Downloaded(*past))
            self.w.noise(ev.DownloadFailed(*past, CRASH))

    @rule(
        index=which,
        how=st.sampled_from(["ready", "loads", "stands by"]),
        fingerprint=st.sampled_from(["", "old", "new"]),
    )
    def a_run_is_found(self, index: int, how: str, fingerprint: str) -> None:
        name = self.name(index)
        if name not in self.w.processes and not self.w.closing:
            self.w.is_found(name, how == "ready", fingerprint, stands_by=how == "stands by")

    @rule(index=which)
    def reports_come_late_and_twice(self, index: int) -> None:
        if self.w.past:
            model, run = self.w.past[index % len(self.w.past)]
            for late in (
                ev.RunPrepared(model, run),
                ev.ProbePassed(model, run),
                ev.StartFailed(model, run, CRASH),
                ev.RunExited(model, run, CRASH),
                ev.RunUnplaced(model, run, CRASH),
                ev.RunUnhealthy(model, run, CRASH),
                ev.RunSlept(model, run),
                ev.SleepFailed(model, run, CRASH),
                ev.WakeFailed(model, run, CRASH),
                ev.RunFound(model, run, ready=True),
            ):
                self.w.noise(late)
        if process := self.pick(self.runs("serving", "draining"), index):
            self.w.noise(ev.RunPrepared(process.model, process.run))
            self.w.noise(ev.ProbePassed(process.model, process.run))
            self.w.noise(ev.RunFound(process.model, process.run, ready=True))
            self.w.noise(ev.WakeFailed(process.model, process.run, CRASH))
        over = [a for a in self.w.asked.values() if a.answer and a.run is None]
        if asked := self.pick(over, index):
            self.w.noise(ev.LeaseReturned(asked.request))
            self.w.noise(ev.RequestWithdrawn(asked.request))

    # operators

    @rule(index=which, what=st.sampled_from(["start", "stop", "rest", "warm", "cool", "down", "up"]))
    def an_operator_acts(self, index: int, what: str) -> None:
        name = self.name(index)
        match what:
            case "start":
                self.w.order(ev.StartRequested(name))
            case "stop":
                self.w.order(ev.StopRequested(name))
            case "rest":
                self.w.order(ev.StopRequested(name, to_sleep=True))
            case "warm" | "cool":
                self.w.tell(ev.KeepWarmChanged(name, what == "warm"))
            case _:
                self.w.change_runtime((name,), "the engine is down" if what == "down" else None)

    @rule(index=which, remove=st.booleans(), data=st.data())
    def the_configuration_is_read_again(self, index: int, remove: bool, data: st.DataObject) -> None:
        old = self.w.scheduler
        name = NAMES[index % len(NAMES)]
        changed = dict(old.models)
        if name in changed and len(changed) > 1 and remove:
            del changed[name]
        else:
            changed[name] = data.draw(specs(name, len(old.budget)), name)
        budget = {device: data.draw(budgets, device) for device in old.budget}
        return_to = old.return_to if old.return_to in changed else None
        self.w.configure(
            SchedulerSpec(
                budget=budget, models=changed, host_sleep_mib=old.host_sleep_mib, return_to=return_to
            )
        )

    @precondition(lambda self: self.world is not None and len(self.world.log) > 60)
    @rule(leave_running=st.booleans(), sure=st.integers(0, 3))
    def it_is_to_end(self, leave_running: bool, sure: int) -> None:
        if sure == 3:
            self.w.shut_down(leave_running)

    def teardown(self) -> None:
        if self.world is not None and self.world.sound:
            self.world.come_to_rest(start_s=2.0, stop_s=0.5, service_s=0.3)
