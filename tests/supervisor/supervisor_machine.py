"""Random histories of a supervisor: faults, cancellations and deaths at moments that the test chooses.

One virtual clock and one machine; on it one hotseat after another. ``steps`` runs the event loop so many
times round, so that a cancellation or a ``kill -9`` may come between any two things that it does.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from shaky import Machine, Moods, Naps, Shaky

from fakes.clock import VirtualLoop
from fakes.models import Memory, model, settings
from fakes.runtime import FakeRun
from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec, Settings, SleepSpec, StandbyMode
from hotseat.engines.pick import engine_named
from hotseat.gateway.proxy.lease import LeaseRefused
from hotseat.probing import gpu
from hotseat.runtimes.base import Handle
from hotseat.supervisor import reports, runtime_monitor, supervisor
from hotseat.supervisor import run as run_module
from hotseat.supervisor.ports import Drivers, Environment, Observers
from hotseat.supervisor.supervisor import Supervisor
from hotseat.supervisor.ticket import Lease

T = TypeVar("T")
NAMES = ("ada", "bob", "cyd")
WELL_WITHIN_S = 3000.0
"""Once nothing goes wrong any more, everybody has an answer within this (virtual) time."""
BUDGET = 0.9

which = st.integers(0, 1000)
moments = st.sampled_from([0.0, 0.05, 0.3, 1.0, 2.5, 6.0, 35.0, 70.0, 400.0])
steps = st.integers(0, 25)
rarely = st.sampled_from([False] * 5 + [True])
naps = st.sampled_from([None, SleepSpec(level=1), SleepSpec(level=1, idle_s=20.0)])
NOT_FOUND = Reason(summary="command not found", permanent=True)
FAULTS: Mapping[str, tuple[Any, ...]] = {
    "start_s": (0.0, 20.0),
    "stop_s": (0.5, 8.0),
    "launch_s": (1.0, 12.0),
    "returns_after_s": (1.0, 7.0),
    "prepare_s": (0.0, 30.0),
    "no_gate": (True,),
    "cannot_admit": (True,),
    "cannot_launch": (NOT_FOUND,),
    "start_fails": (True,),
    "never_ready": (True,),
    "health_hangs": (True,),
    "ignores_stop": (True,),
    "hangs": (True,),
    "exits_after": (0.0, 3.0),
    "kill_s": (4.0,),
    "launch_breaks": (True,),
    "stops_fail": (2,),
    "end_untold": (True,),
    "no_room_s": (5.0, 90.0),
    "sleep": ("refuses", "hangs", "breaks"),
    "wake": ("refuses", "hangs", "breaks"),
}


@st.composite
def moods(draw: st.DrawFn) -> Moods:
    """A fault or two."""
    names = draw(st.lists(st.sampled_from(sorted(FAULTS)), min_size=1, max_size=2, unique=True))
    return Moods(**{name: draw(st.sampled_from(FAULTS[name])) for name in names})


@st.composite
def specs(draw: st.DrawFn, name: str) -> ModelSpec:
    """A model with random terms; its share is always the same, so that the books stay simple."""
    terms: dict[str, Any] = {
        "idle_s": draw(st.sampled_from([None, 2.0, 60.0])),
        "start_timeout_s": draw(st.sampled_from([15.0, 60.0])),
        "download_timeout_s": draw(st.sampled_from([None, None, 3.0, 60.0])),
        "drain_timeout_s": draw(st.sampled_from([0.0, 5.0, 60.0])),
        "max_in_flight": draw(st.sampled_from([None, None, 1])),
        "warm": draw(rarely),
        "sleep": draw(naps),
        "standby": draw(st.sampled_from([*StandbyMode])),
    }
    made = model(name, {"ada": 0.6, "bob": 0.6, "cyd": 0.2}[name], **terms)
    changed = replace(made.scheduling, fingerprint=draw(st.sampled_from([name, name, name + "'"])))
    return replace(made, scheduling=changed, stop_grace_s=draw(st.sampled_from([1.0, 10.0])))


class Log:
    """Takes the place of the log; keeps what is said of bugs."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def error(self, event: str, **words: object) -> None:
        if event != "runtime unusable":
            self.errors.append(f"{event} {words}")

    def warning(self, event: str, **words: object) -> None:
        """Nothing to keep."""

    info = debug = warning


@dataclass
class Client:
    """One who asks, waits as long as it likes, uses its lease for a while and goes."""

    model: str
    patience_s: float | None
    service_s: float
    fate: str = "waits"
    """Then ``holds``, and at last ``served``, ``broken``, ``refused``, ``left`` or ``cut off``."""
    task: asyncio.Task[None] | None = None
    lease: Lease | None = None
    told: list[Reason] = field(default_factory=list)
    since: float = 0.0


class House:
    """One hotseat on the machine, until it is killed or ends."""

    def __init__(self, machine: Machine, terms: Settings, jitter: float) -> None:
        self.machine = machine
        self.runtime = Shaky(machine)
        self.naps = Naps(self.runtime)
        self.clients: list[Client] = []
        self.work: list[asyncio.Task[Any]] = []
        """Orders that wait, and the like."""
        self.terms = terms
        self.supervisor = Supervisor(
            terms,
            {"fake": self.runtime},
            Drivers(
                engine_of=lambda model: engine_named("openai"),
                probe=self._probe,
                check=self._check,
                memory_free=self._memory_free,
                sleeper=self.naps,
                files=machine.files,
            ),
            Observers(starts=Memory()),
            Environment(jitter=lambda: jitter, wall_clock=lambda: 0.0),
            refused=LeaseRefused,
        )

    async def _probe(self, model: ModelSpec, handle: Handle, poke: asyncio.Event) -> None:
        await self.runtime.alive()
        await self.runtime.until_ready(handle.host, handle.port)

    async def _check(self, model: ModelSpec, handle: Handle) -> str | None:
        await self.runtime.alive()
        return None if await self.runtime.healthy(handle.host, handle.port) else "silent"

    async def _memory_free(self, model: ModelSpec) -> Reason | None:
        back_s = self.machine.moods(model.name).no_room_s
        await asyncio.sleep(min(back_s, gpu.BACK_WITHIN_S))
        return None if back_s <= gpu.BACK_WITHIN_S else Reason(summary="GPU memory was not freed")

    async def serve(self, client: Client, key: str, priority: int) -> None:
        """A client's whole life."""
        try:
            with self.supervisor.ask(client.model, priority=priority, key=key) as ticket:
                if not await ticket.wait(client.patience_s):
                    client.fate = "left"
                    return
                assert ticket.lease is not None
                client.lease, client.fate = ticket.lease, "holds"
                await self._use(client, ticket.lease)
        except LeaseRefused:
            client.fate = "refused"

    async def _use(self, client: Client, lease: Lease) -> None:
        ident = self.machine_ident(lease.upstream.port)
        gone = asyncio.Event()

        def breaks(reason: Reason) -> None:
            client.told.append(reason)
            if not self.runtime.dead:
                self.machine.holders[ident] -= 1
            gone.set()

        self.machine.holders[ident] += 1
        if ident in self.machine.asleep:
            self.machine.broken.append(f"promise 3: {client.model} sleeps and got a request")
        lease.on_break(breaks)
        try:
            async with asyncio.timeout(client.service_s):
                await gone.wait()
            client.fate = "broken"
        except TimeoutError:
            client.fate = "served"
        finally:
            if not client.told:
                self.machine.holders[ident] -= 1

    def machine_ident(self, port: int) -> str:
        """The run behind an address."""
        return self.runtime.at_port(port).handle.ident


class Histories(RuleBasedStateMachine):
    """One machine, and everything that may happen on it."""

    def __init__(self) -> None:
        super().__init__()
        gc.disable()  # what it finalises becomes tasks, at moments that nobody has chosen
        self.loop = VirtualLoop()
        self.made = itertools.count()
        self.numbers: dict[asyncio.Task[Any], int] = {}
        self.loop.set_task_factory(self.make_task)
        self.log = Log()
        self.unhandled: list[str] = []
        self.loop.set_exception_handler(
            lambda loop, context: self.unhandled.append(
                f"{context.get('message')}: {context.get('exception')!r}"
            )
        )
        self.machine = Machine()
        self.house: House | None = None
        self.jitter = 0.0
        self.failed = False
        self.provoked = False
        """The test broke a contract itself: complaints are in order."""
        self._logs = {module: module.log for module in (supervisor, run_module, reports, runtime_monitor)}
        for module in self._logs:
            module.log = self.log

    @initialize(jitter=st.sampled_from([0.0, 1.0]), data=st.data())
    def begin(self, jitter: float, data: st.DataObject) -> None:
        self.jitter = jitter
        names = NAMES[: data.draw(st.integers(1, 3))]
        terms = settings(*(data.draw(specs(name), name) for name in names), budget=BUDGET)
        self.machine.budget = terms.scheduler.budget
        if data.draw(st.booleans()):  # all have run before
            self.machine.gates = {n: one.scheduling.fingerprint for n, one in terms.models.items()}
        self.open(terms)

    # the loop

    def drive(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def step(self, count: int) -> None:
        """So many times round the event loop."""
        for _ in range(count):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def make_task(self, loop: Any, work: Any, **terms: Any) -> asyncio.Task[Any]:
        """Tasks are numbered, so that all of them can be cancelled in the same order each time."""
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **terms)
        task.add_done_callback(lambda task: self.numbers.pop(task, None))
        self.numbers[task] = next(self.made)
        return task

    def spawn(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return self.loop.create_task(work, name=name)

    def sound(self) -> None:
        """What must be true at any moment."""
        self.failed = True
        self.step(6)  # what has happened just now is heard of
        assert not self.machine.broken, self.machine.broken
        assert not self.unhandled, self.unhandled
        assert self.h.supervisor.wake_at >= self.loop.time(), "promise 5: a deadline has come unheard"
        if not self.provoked:
            assert not self.log.errors, self.log.errors
        views = self.h.supervisor.views()
        for name, number in self.h.runtime.failed:
            known = name not in views or views[name].run != number
            assert known, f"promise 8: the launch of {name}#{number} failed, and nobody was told"
        for client in self.h.clients:
            assert len(client.told) <= 1, "promise 3: a lease was broken twice"
            if client.fate == "holds" and client.lease is not None and client.lease.broken is None:
                run = self.run_at(client.lease.upstream.port)
                ended = run.exit is not None and not self.end_untold(run)
                assert not ended, f"promise 8: {client.model} is gone and its client does not know"
        self.failed = False

    def end_untold(self, run: FakeRun) -> bool:
        return isinstance(run.faults, Moods) and run.faults.end_untold

    def run_at(self, port: int) -> FakeRun:
        return next(run for run in self.machine.runs if run.handle.port == port)

    @property
    def h(self) -> House:
        assert self.house is not None
        return self.house

    def name(self, index: int) -> str:
        names = sorted(self.h.terms.models)
        return names[index % len(names)]

    # hotseat itself

    def open(self, terms: Settings) -> None:
        async def make() -> House:
            return House(self.machine, terms, self.jitter)

        self.house = self.drive(make())
        self.house.work.append(self.spawn("open", self.house.supervisor.open()))

    def opened(self) -> bool:
        return self.h.work[0].done()

    def die(self) -> None:
        """``kill -9``: nothing of it does anything any more, and its clients' connections are cut."""
        house = self.h
        house.runtime.dead = True
        while mine := asyncio.all_tasks(self.loop):
            for task in sorted(mine, key=self.numbers.__getitem__):
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(mine))
        self.loop.cancel_timers_of(house.supervisor)
        self.machine.holders.clear()
        for client in house.clients:
            if client.fate in ("waits", "holds"):
                client.fate = "cut off"

    @rule(after=steps, before=steps)
    def hotseat_is_killed_and_comes_back(self, after: int, before: int) -> None:
        self.step(after)
        terms = self.h.terms
        self.die()
        self.open(terms)
        self.step(before)
        self.sound()

    @precondition(lambda self: self.house is not None and self.opened())
    @rule(leave_running=st.booleans(), seconds=moments)
    def hotseat_ends_and_comes_back(self, leave_running: bool, seconds: float) -> None:
        self.end(leave_running)
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.open(self.h.terms)
        self.sound()

    def end(self, leave_running: bool) -> None:
        house = self.h
        self.failed = True

        async def close() -> None:
            async with asyncio.timeout(WELL_WITHIN_S):
                await house.supervisor.close(leave_running=leave_running)
                await asyncio.gather(*(c.task for c in house.clients if c.task), return_exceptions=True)
                await asyncio.gather(*house.work, return_exceptions=True)

        self.drive(close())
        house.runtime.dead = True
        assert house.supervisor.tickets == 0
        for client in house.clients:
            assert client.fate not in ("waits", "holds"), f"promise 3: {client} at the end"
        left = {task.get_name() for task in asyncio.all_tasks(self.loop)}
        assert not left, f"tasks are left: {left}"
        assert not self.machine.broken, self.machine.broken
        self.failed = False

    @precondition(lambda self: self.house is not None and self.opened())
    @rule(data=st.data(), after=steps)
    def the_configuration_is_read_again(self, data: st.DataObject, after: int) -> None:
        if any(task.get_name() == "configure" and not task.done() for task in self.h.work):
            return
        names = data.draw(st.sets(st.sampled_from(NAMES), min_size=1))
        terms = settings(*(data.draw(specs(name), name) for name in sorted(names)), budget=BUDGET)
        self.h.terms = terms
        self.h.work.append(self.spawn("configure", self.h.supervisor.configure(terms, {})))
        self.step(after)
        self.sound()

    # clients

    @rule(
        index=which,
        patience_s=st.sampled_from([None, None, 0.0, 0.5, 5.0]),
        service_s=st.sampled_from([0.0, 0.2, 3.0, 90.0]),
        key=st.sampled_from("xy"),
        priority=st.sampled_from([0, 0, 1]),
        crowd=st.integers(1, 3),
        after=steps,
    )
    def clients_ask(
        self,
        index: int,
        patience_s: float | None,
        service_s: float,
        key: str,
        priority: int,
        crowd: int,
        after: int,
    ) -> None:
        for _ in range(crowd):
            client = Client(self.name(index), patience_s, service_s, since=self.loop.time())
            self.h.clients.append(client)
            client.task = self.spawn("client", self.h.serve(client, key, priority))
        self.step(after)
        self.sound()

    @rule(index=which, after=steps)
    def a_client_is_cut_off(self, index: int, after: int) -> None:
        self.step(after)
        going = [c for c in self.h.clients if c.task is not None and not c.task.done()]
        if going:
            client = going[index % len(going)]
            assert client.task is not None
            client.task.cancel()
            self.step(2)
            assert client.task.done()
            client.fate = "left"
        self.sound()

    @rule(index=which, certain=st.booleans())
    def a_client_doubts(self, index: int, certain: bool) -> None:
        holding = [c for c in self.h.clients if c.fate == "holds" and c.lease is not None]
        if holding:
            lease = holding[index % len(holding)].lease
            assert lease is not None

            async def tell() -> None:
                lease.suspect("it answers nonsense", certain=certain)

            self.drive(tell())
        self.sound()

    # operators

    @rule(index=which, start=st.booleans(), wait=st.booleans(), after=steps, cancel=rarely)
    def an_operator_acts(self, index: int, start: bool, wait: bool, after: int, cancel: bool) -> None:
        if not self.opened():
            return
        order = self.h.supervisor.start if start else self.h.supervisor.stop
        task: asyncio.Task[Any] = self.spawn("order", order(self.name(index), wait=wait))
        self.h.work.append(task)
        self.step(after)
        if cancel:
            task.cancel()
        self.sound()

    # the machine

    @rule(seconds=moments)
    def time_passes(self, seconds: float) -> None:
        self.drive(asyncio.sleep(seconds))
        self.sound()

    @rule(index=which, mood=moods())
    def a_model_is_moody_from_now_on(self, index: int, mood: Moods) -> None:
        self.provoked |= mood.launch_breaks or "breaks" in (mood.sleep, mood.wake)
        self.machine.faults[NAMES[index % len(NAMES)]] = mood

    @rule(rounds=st.integers(1, 3), seconds=st.sampled_from([0.5, 3.0, 12.0]), after=steps)
    def all_is_well_for_a_while(self, rounds: int, seconds: float, after: int) -> None:
        """Everybody is asked for and served, one model after the other, and it is quiet for some time."""
        self.machine.faults.clear()
        self.h.runtime.why = None
        for _ in range(rounds):
            for index in range(len(self.h.terms.models)):
                self.clients_ask(index, None, 0.2, "x", 0, 1, 0)
                self.drive(asyncio.sleep(seconds))
                self.sound()
        self.step(after)
        self.sound()

    @rule(index=which, how=st.sampled_from(["crash", "outside", "hangs", "seems ill", "sick sleeper"]))
    def a_run_fails(self, index: int, how: str) -> None:
        live = self.machine.live()
        if live:
            run = live[index % len(live)]

            async def fail() -> None:
                match how:
                    case "crash":
                        run.end(Reason(summary="killed by SIGKILL", signal=9))
                    case "outside":
                        run.end(Reason(summary="exited with code 0"), outside=True)
                    case "hangs":
                        run.faults = replace(run.faults, hangs=True)
                    case "seems ill":
                        self.h.runtime.seems_ill(run)
                    case _:
                        if isinstance(run.faults, Moods):
                            run.faults = replace(run.faults, wake="refuses", sleep="refuses")

            self.drive(fail())
        self.sound()

    @rule(index=which)
    def somebody_else_starts_a_model(self, index: int) -> None:
        name = self.name(index)
        if self.machine.live(name) or not self.opened():
            return

        async def appear() -> None:
            handle = self.h.runtime.appear(self.h.terms.models[name])
            self.machine.strangers.add(handle.ident)

        before = len(self.machine.broken)
        self.drive(appear())
        del self.machine.broken[before:]
        self.sound()

    @rule(index=which, reason=st.sampled_from([None, None, NOT_FOUND, Reason(summary="the hub is away")]))
    def files_vanish_and_the_hub_is_away_or_back(self, index: int, reason: Reason | None) -> None:
        self.machine.files.missing.add(NAMES[index % len(NAMES)])
        self.machine.files.fails = reason

    @rule(well=st.booleans())
    def the_runtime_goes_or_comes(self, well: bool) -> None:
        self.h.runtime.why = None if well else "the engine does not answer"

    # the end

    def come_to_rest(self) -> None:
        """Nothing goes wrong any more: all who wait are answered, and nothing is left at the end."""
        self.machine.faults.clear()
        self.machine.files.fails, self.machine.files.take_s = None, 2.0
        self.h.runtime.why = None
        for run in self.machine.live():
            if isinstance(run.faults, Moods):
                run.faults = replace(run.faults, stops_fail=0)
        waiting = [c for c in self.h.clients if c.task is not None and not c.task.done()]
        deadline = self.loop.time() + WELL_WITHIN_S

        async def all_answered() -> None:
            async with asyncio.timeout_at(deadline):
                await asyncio.gather(*(c.task for c in waiting if c.task))
                await asyncio.gather(*self.h.work, return_exceptions=True)
                for name in sorted(self.h.terms.models):
                    await self._until_served(name)

        try:
            self.drive(all_answered())
        except TimeoutError:
            views = {name: (v.state, v.waiting) for name, v in self.h.supervisor.views().items()}
            left = [c for c in waiting if c.task is not None and not c.task.done()]
            raise AssertionError(f"promise 5: not answered in time: {left}; {views}") from None
        self.sound()
        self.end(leave_running=False)
        ours = [run for run in self.machine.live() if run.handle.ident not in self.machine.strangers]
        assert not ours, f"left running: {ours}"

    async def _until_served(self, name: str) -> None:
        while True:
            client = Client(name, None, 0.1, since=self.loop.time())
            self.h.clients.append(client)
            client.task = self.spawn("client", self.h.serve(client, "last", 0))
            await client.task
            if client.fate == "served":
                return
            await asyncio.sleep(5.0)

    def teardown(self) -> None:
        try:
            if self.house is not None and not self.failed:
                self.come_to_rest()
        finally:
            for module, log in self._logs.items():
                module.log = log
            if self.house is not None:
                self.die()
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()
            gc.enable()
