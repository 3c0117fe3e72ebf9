"""Models that are prepared and stand by, on virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fakes.clock import run_virtual
from fakes.models import House, Memory, house, model
from fakes.runtime import Faults, World
from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec, StandbyMode
from hotseat.core.states import State
from hotseat.telemetry.history import StartKind


def standby(name: str, **terms: Any) -> ModelSpec:
    return model(name, **{"standby": StandbyMode.DEMAND, "residency_s": 0.0, **terms})


SLOW = {name: Faults(prepare_s=20, start_s=3, stop_s=1) for name in ("chat", "coder")}


async def known(home: House) -> None:
    """Start both once; ``coder`` stays."""
    await home.answer("chat")
    await home.answer("coder")


def test_imports_overlap_with_the_other_models_turn() -> None:
    async def story() -> None:
        async with house(standby("chat"), standby("coder"), faults=SLOW) as home:
            await known(home)
            busy = asyncio.create_task(home.answer("coder", 60))  # noqa: TID251
            await asyncio.sleep(1)
            waited = await home.answer("chat")
            await busy
            # The rest of the other's turn, its stop, and what the GPU needs.
            assert waited == pytest.approx(59 + 1 + 3)
            assert home.causes("chat")[-4:] == [
                "preparing (demand)",
                "standby (prepared)",
                "starting (demand)",
                "ready (probe_passed)",
            ]
            assert home.read_ahead == ["chat"]
            assert [phase for name, run, phase in home.phases if (name, run) == ("chat", 2)][:4] == [
                "starting",
                "preparing",
                "standing by",
                "starting",
            ]

    run_virtual(story())


def test_starts_from_standby_are_recorded_apart_and_those_admitted_early_not_at_all() -> None:
    async def story() -> None:
        memory = Memory()
        async with house(standby("chat"), standby("coder"), faults=SLOW, memory=memory) as home:
            await known(home)
            await home.answer("chat")  # admitted while it was prepared
            busy = asyncio.create_task(home.answer("chat", 60))  # noqa: TID251
            await asyncio.sleep(1)
            await home.answer("coder")
            await busy
        kinds = [(name, kind) for name, kind, _ in memory.recorded]
        assert kinds == [("chat", StartKind.COLD), ("coder", StartKind.COLD), ("coder", StartKind.STANDBY)]
        assert memory.recorded[-1][2] == pytest.approx(3)

    run_virtual(story())


def test_the_time_left_of_one_that_stands_by_is_that_of_such_starts() -> None:
    class Both(Memory):
        def eta_s(self, model: str, kind: StartKind = StartKind.COLD) -> float | None:
            return {StartKind.COLD: 40.0, StartKind.STANDBY: 3.0}.get(kind)

    async def story() -> None:
        async with house(standby("chat"), standby("coder"), faults=SLOW, memory=Both()) as home:
            await known(home)
            busy = asyncio.create_task(home.answer("coder", 60))  # noqa: TID251
            await asyncio.sleep(1)
            asked = asyncio.create_task(home.answer("chat"))  # noqa: TID251
            await asyncio.sleep(5)
            assert home.supervisor.eta_s("chat") == pytest.approx(35)
            assert home.supervisor.phase("chat") == "preparing"
            await asyncio.sleep(20)
            assert home.supervisor.eta_s("chat") == pytest.approx(3)
            assert home.supervisor.phase("chat") == "standing by"
            await asyncio.gather(busy, asked)

    run_virtual(story())


def test_without_host_memory_nothing_is_prepared_and_nobody_is_refused() -> None:
    async def story() -> None:
        async with house(standby("chat"), standby("coder"), faults=SLOW) as home:
            await known(home)
            home.host_memory_short = Reason(summary="100 MiB of host memory are available")
            await home.answer("chat")
            assert "stopped (prepare_failed)" in home.causes("chat")
            assert home.causes("chat")[-2:] == ["starting (demand)", "ready (probe_passed)"]

    run_virtual(story())


def test_gpu_memory_that_does_not_come_back_fails_the_start_and_ends_the_standby() -> None:
    short = [False]

    async def memory_free(model: ModelSpec) -> Reason | None:
        return Reason(summary="GPU memory was not freed") if short[0] and model.name == "chat" else None

    async def story() -> None:
        made = (standby("chat"), standby("coder"))
        async with house(*made, faults=SLOW, memory_free=memory_free) as home:
            await known(home)
            busy = asyncio.create_task(home.answer("coder", 60))  # noqa: TID251
            await asyncio.sleep(1)
            short[0] = True
            with pytest.raises(Exception, match="GPU memory was not freed"):
                await home.answer("chat")
            await busy
            assert home.world.live("chat") == []

    run_virtual(story())


def test_one_that_stands_by_is_killed_without_a_grace() -> None:
    async def story() -> None:
        faults = {"chat": Faults(prepare_s=5, ignores_stop=True), "coder": Faults()}
        async with house(standby("chat"), standby("coder"), faults=faults) as home:
            await known(home)
            busy = asyncio.create_task(home.answer("coder", 60))  # noqa: TID251
            await asyncio.sleep(1)
            asked = asyncio.create_task(home.answer("chat"))  # noqa: TID251
            await asyncio.sleep(10)
            began = home.supervisor.now()
            await home.supervisor.stop("chat", wait=True)
            assert home.supervisor.now() - began < 0.1
            await asyncio.gather(busy, asked, return_exceptions=True)

    run_virtual(story())


def test_three_that_stand_by_are_adopted_by_the_next_hotseat() -> None:
    async def story() -> None:
        names = ("chat", "coder", "mathy")
        world = World()
        world.gates = {name: standby(name).scheduling.fingerprint for name in names}
        specs = [standby(name) for name in names]
        for number, spec in enumerate(specs):
            world.launch(spec, number + 1, held=True)
        async with house(*specs, world=world) as home:
            await asyncio.sleep(5)
            assert {home.supervisor.state(name) for name in names} == {State.STANDBY}
            for name in names:
                await home.answer(name)
            assert world.starts("chat") == 1

    run_virtual(story())


def test_keep_prepares_who_has_left_and_reads_nothing_ahead() -> None:
    async def story() -> None:
        made = [standby(name, standby=StandbyMode.KEEP) for name in ("chat", "coder")]
        async with house(*made, faults=SLOW) as home:
            await known(home)
            await asyncio.sleep(30)
            assert home.supervisor.state("chat") is State.STANDBY
            assert await home.answer("chat") == pytest.approx(1 + 3, abs=0.5)
            assert home.read_ahead == []

    run_virtual(story())


def test_a_hundred_swaps_leave_nothing_behind() -> None:
    async def story() -> None:
        made = [standby(name, standby=StandbyMode.KEEP) for name in ("chat", "coder")]
        async with house(*made) as home:
            for _ in range(50):
                await home.answer("chat")
                await home.answer("coder")
            assert len(home.world.live()) <= 2
        assert home.world.overlaps == []

    run_virtual(story())
