"""What goes wrong, on virtual time: runs that hang, schedules, and another configuration."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fakes.clock import run_virtual
from fakes.models import House, house, model, settings
from fakes.runtime import Faults
from hotseat.core.errors import Code, Reason
from hotseat.core.spec import KeepWarmSpan, KeepWarmSpec, ModelSpec, SleepSpec
from hotseat.core.states import State
from hotseat.engines.base import Engine
from hotseat.gateway.proxy.lease import LeaseRefused
from hotseat.probing import gpu

MONDAY = datetime(2026, 11, 23, tzinfo=UTC).timestamp()


def with_seat(spec: ModelSpec, **terms: object) -> ModelSpec:
    return replace(spec, scheduling=replace(spec.scheduling, **terms))


# Ready runs that do not answer any more


def test_a_ready_run_that_hangs_is_found_told_and_replaced() -> None:
    async def story() -> None:
        async with house(model("chat"), faults={"chat": Faults(hangs=True)}) as home:
            told: asyncio.Queue[Reason] = asyncio.Queue()
            with home.supervisor.ask("chat") as ticket:
                await ticket.wait()
                assert ticket.lease is not None
                ticket.lease.on_break(told.put_nowait)
                home.world.faults.clear()
                async with asyncio.timeout(10):
                    reason = await told.get()
            assert reason.summary == "no longer answers its health check (silent)"
            assert await home.answer("chat") == pytest.approx(1.0, abs=0.1)
            assert "stopping (unhealthy)" in home.causes("chat")
            assert home.world.starts("chat") == 2

    run_virtual(story())


def test_a_run_that_fails_a_check_now_and_then_is_left_alone() -> None:
    async def story() -> None:
        async with house(model("chat")) as home:
            await home.answer("chat")
            (run,) = home.world.live()
            for _ in range(20):
                run.faults.hangs = True
                await asyncio.sleep(1.5)  # one check fails, or two
                run.faults.hangs = False
                await asyncio.sleep(2)
            assert home.world.starts("chat") == 1
            assert home.supervisor.state("chat") == State.READY

    run_virtual(story())


def test_a_run_in_doubt_is_looked_at_at_once() -> None:
    async def story() -> None:
        chat = replace(model("chat"), health_every_s=None)
        async with house(chat, faults={"chat": Faults(hangs=True)}) as home:
            with home.supervisor.ask("chat") as ticket:
                await ticket.wait()
                assert ticket.lease is not None
                await asyncio.sleep(500)
                assert home.supervisor.state("chat") == State.READY  # nobody asked for checks
                ticket.lease.suspect("it answers nonsense")
                await asyncio.sleep(2.5)
                assert ticket.lease.broken is not None

    run_virtual(story())


def test_certainty_needs_no_check() -> None:
    async def story() -> None:
        async with house(model("chat")) as home:
            with home.supervisor.ask("chat") as ticket:
                await ticket.wait()
                assert ticket.lease is not None
                ticket.lease.suspect("its server sent nothing for 600 s", certain=True)
                assert ticket.lease.broken is not None
                assert "600 s" in ticket.lease.broken.summary
                ticket.lease.suspect("and again", certain=True)
            await home.answer("chat")
            assert home.causes("chat").count("stopping (unhealthy)") == 1

    run_virtual(story())


def test_doubts_of_an_old_run_do_not_reach_the_new_one() -> None:
    async def story() -> None:
        async with house(model("chat")) as home:
            with home.supervisor.ask("chat") as ticket:
                await ticket.wait()
                old = ticket.lease
            home.world.crash("chat")
            await asyncio.sleep(0.1)
            await home.answer("chat")
            assert old is not None
            old.suspect("late words", certain=True)
            assert home.supervisor.state("chat") == State.READY

    run_virtual(story())


def test_a_run_that_hangs_again_and_again_backs_off() -> None:
    async def story() -> None:
        async with house(model("chat"), faults={"chat": Faults(hangs=True)}) as home:
            for _ in range(2):
                await home.answer("chat")
                await asyncio.sleep(7.2)
            assert home.supervisor.state("chat") == State.BACKOFF
            with pytest.raises(LeaseRefused) as refused:
                await home.answer("chat")
            assert refused.value.refusal.code is Code.MODEL_BACKOFF
            assert "health check" in refused.value.refusal.message

    run_virtual(story())


def test_a_sleeper_is_asked_nothing() -> None:
    async def story() -> None:
        chat = model("chat", idle_s=10, sleep=SleepSpec(level=1))
        async with house(chat) as home:
            await home.answer("chat")
            await asyncio.sleep(11)
            assert home.supervisor.state("chat") == State.ASLEEP
            home.world.live()[0].faults.hangs = True
            await asyncio.sleep(100)
            assert home.supervisor.state("chat") == State.ASLEEP
            home.world.live()[0].faults.hangs = False
            assert await home.answer("chat") == pytest.approx(0.2)
            home.world.live()[0].faults.hangs = True
            await asyncio.sleep(9)
            assert "stopping (unhealthy)" in home.causes("chat")

    run_virtual(story())


# GPU memory


class OneGpu:
    """Its free memory, in MiB of 24,000."""

    def __init__(self, free_mib: int) -> None:
        self.free_mib = free_mib

    def read(self) -> dict[str, gpu.GpuReading]:
        return {"0": gpu.GpuReading("0", "fake", 24_000, self.free_mib, None)}


def test_a_start_whose_memory_does_not_come_back_is_given_up_and_says_why() -> None:
    async def story() -> None:
        device = OneGpu(free_mib=2_000)
        chat, coder = model("chat", 0.6), model("coder", 0.2)
        async with house(
            chat, coder, memory_free=lambda spec: gpu.wait_for_free_memory(device, spec.scheduling.footprint)
        ) as home:
            with pytest.raises(LeaseRefused) as refused:
                await home.answer("chat")
            assert home.supervisor.now() == pytest.approx(gpu.BACK_WITHIN_S, abs=0.2)
            assert home.world.starts("chat") == 0  # nothing was launched into memory that is not there
            said = refused.value.refusal
            assert said.code is Code.MODEL_BACKOFF
            assert "GPU memory was not freed: GPU 0 has 2000 MiB free, 14160 MiB are needed" in said.message
            device.free_mib = 23_900
            await asyncio.sleep(2)
            assert await home.answer("chat") == pytest.approx(1.0)

    run_virtual(story())


def test_memory_that_comes_back_late_delays_the_start_and_nobody_else() -> None:
    async def story() -> None:
        device = OneGpu(free_mib=6_000)
        chat, coder = model("chat", 0.6), model("coder", 0.2)
        async with house(
            chat, coder, memory_free=lambda spec: gpu.wait_for_free_memory(device, spec.scheduling.footprint)
        ) as home:
            waiting = asyncio.gather(home.answer("chat"))
            await asyncio.sleep(1)
            assert await home.answer("coder") == pytest.approx(1.0)
            await asyncio.sleep(8)
            device.free_mib = 18_000
            [waited_s] = await waiting
            assert waited_s == pytest.approx(11.0, abs=0.2)

    run_virtual(story())


# Schedules


def scheduled(*spans: KeepWarmSpan, zone: str = "UTC") -> ModelSpec:
    return replace(model("chat", idle_s=60), keep_warm=KeepWarmSpec(spans=spans, zone=zone))


QUARTER = KeepWarmSpan(days=frozenset({0}), start_min=8 * 60, end_min=8 * 60 + 15)
AT_EIGHT = MONDAY + 8 * 3600


def test_a_model_is_warm_in_its_hours_and_leaves_after_them() -> None:
    async def story() -> None:
        async with house(scheduled(QUARTER), began_at=AT_EIGHT - 100) as home:
            await asyncio.sleep(99)
            assert home.world.starts("chat") == 0
            await asyncio.sleep(3)
            assert home.supervisor.state("chat") == State.READY
            await asyncio.sleep(890)
            assert home.supervisor.state("chat") == State.READY
            await asyncio.sleep(10 + 61)
            assert home.supervisor.state("chat") == State.STOPPED
            assert home.world.starts("chat") == 1

    run_virtual(story())


def test_a_clock_that_is_set_is_followed() -> None:
    async def story() -> None:
        async with house(scheduled(QUARTER), began_at=MONDAY) as home:
            await asyncio.sleep(60)
            home.began_at += 8 * 3600
            await asyncio.sleep(40)
            assert home.supervisor.state("chat") == State.READY
            home.began_at -= 8 * 3600
            await asyncio.sleep(120)
            assert home.supervisor.state("chat") == State.STOPPED

    run_virtual(story())


# Another configuration


async def reconfigure(home: House, *models: ModelSpec, budget: float = 0.9) -> None:
    await home.supervisor.configure(settings(*models, budget=budget), {})


def test_an_unchanged_model_keeps_its_run_and_its_stream() -> None:
    async def story() -> None:
        chat, coder = model("chat"), model("coder")
        async with house(chat) as home:
            await home.answer("chat")
            stream = asyncio.gather(home.answer("chat", service_s=50))
            await asyncio.sleep(1)
            await reconfigure(home, with_seat(chat, idle_s=5.0), coder)
            await stream
            assert home.world.starts("chat") == 1
            await home.answer("coder")
            await asyncio.sleep(10)
            assert home.supervisor.state("chat") == State.STOPPED  # under its new terms

    run_virtual(story())


def test_a_changed_model_restarts_when_its_requests_have_ended() -> None:
    async def story() -> None:
        chat = model("chat")
        async with house(chat) as home:
            await home.answer("chat")
            stream = asyncio.gather(home.answer("chat", service_s=50))
            await asyncio.sleep(1)
            await reconfigure(home, with_seat(chat, fingerprint="other"))
            await asyncio.sleep(30)
            assert home.world.starts("chat") == 1
            await stream
            await home.answer("chat")
            assert home.world.starts("chat") == 2
            assert "stopping (configured)" in home.causes("chat")

    run_virtual(story())


def test_a_removed_model_drains_and_goes_and_may_come_back() -> None:
    async def story() -> None:
        chat, coder = model("chat"), model("coder")
        async with house(chat, coder) as home:
            await home.answer("chat")
            stream = asyncio.gather(home.answer("chat", service_s=20))
            await asyncio.sleep(1)
            await reconfigure(home, coder)
            with pytest.raises(LeaseRefused) as refused:
                home.supervisor.ask("chat")
            assert refused.value.refusal.code is Code.MODEL_NOT_FOUND
            await stream
            await asyncio.sleep(1)
            assert set(home.supervisor.views()) == {"coder"}
            assert not home.world.live("chat")
            await reconfigure(home, chat, coder)
            await home.answer("chat")
            assert [run.handle.run for run in home.world.runs if run.handle.model == "chat"] == [1, 2]

    run_virtual(story())


def test_who_waits_for_a_model_that_is_removed_is_told() -> None:
    async def story() -> None:
        coder = model("coder")
        async with house(model("chat"), coder) as home:
            with home.supervisor.ask("chat") as ticket:
                assert not await ticket.wait(0.5)
                await reconfigure(home, coder)
                with pytest.raises(LeaseRefused) as refused:
                    await ticket.wait()
                assert refused.value.refusal.code is Code.MODEL_NOT_FOUND
                await asyncio.sleep(5)
                assert ticket.loading().state is State.STOPPED  # it is gone by now, and was asked for once

    run_virtual(story())


def test_a_schedule_that_comes_and_goes_with_the_configuration() -> None:
    async def story() -> None:
        chat = model("chat", idle_s=60)
        always = KeepWarmSpan(days=frozenset(range(7)), start_min=0, end_min=24 * 60)
        async with house(chat, began_at=MONDAY) as home:
            await asyncio.sleep(100)
            assert home.world.starts("chat") == 0
            await reconfigure(home, replace(chat, keep_warm=KeepWarmSpec(spans=(always,), zone="UTC")))
            await asyncio.sleep(1000)
            assert home.supervisor.state("chat") == State.READY
            await reconfigure(home, chat)
            await asyncio.sleep(70)
            assert home.supervisor.state("chat") == State.STOPPED

    run_virtual(story())


def test_new_models_learn_that_their_runtime_is_unusable() -> None:
    async def story() -> None:
        async with house(model("chat")) as home:
            home.runtime.why = "the engine does not answer"
            await asyncio.sleep(1.5)
            await reconfigure(home, model("chat"), model("coder"))
            with pytest.raises(LeaseRefused) as refused:
                home.supervisor.ask("coder")
            assert refused.value.refusal.code is Code.RUNTIME_UNAVAILABLE

    run_virtual(story())


def test_an_order_that_fails_by_a_bug_hangs_nobody() -> None:
    async def story() -> None:
        async with house(model("chat", 0.3), model("coder", 0.3)) as home:

            def broken(spec: ModelSpec) -> Engine:
                raise RuntimeError("a bug")

            working, home.engine_of = home.engine_of, broken
            with pytest.raises(LeaseRefused) as refused:
                await home.answer("chat")
            assert "hotseat failed to start it: RuntimeError('a bug')" in refused.value.refusal.message
            home.engine_of = working
            await asyncio.sleep(2)
            await asyncio.gather(home.answer("chat"), home.answer("coder"))

    run_virtual(story())
