"""The supervisor on virtual time: every wait below takes no time at all."""

from __future__ import annotations

import asyncio

import pytest

from fakes.clock import run_virtual
from fakes.models import FakeSleeper, House, Memory, house, model
from fakes.runtime import Faults
from hotseat.core.errors import Code, Reason
from hotseat.core.spec import SleepSpec
from hotseat.core.states import State
from hotseat.gateway.proxy.lease import LeaseRefused


async def many(home: House, name: str, count: int, service_s: float = 0.0) -> list[float]:
    return list(await asyncio.gather(*(home.answer(name, service_s) for _ in range(count))))


def test_many_first_requests_make_one_start_and_all_are_answered() -> None:
    async def story() -> None:
        async with house(model("chat")) as home:
            waits = await many(home, "chat", 50)
            assert home.world.starts("chat") == 1
            assert max(waits) == pytest.approx(1.0)
            assert home.supervisor.requests("chat") == 50

    run_virtual(story())


def test_a_ready_model_grants_without_a_task_switch() -> None:
    async def story() -> None:
        async with house(model("chat")) as home:
            await home.answer("chat")
            with home.supervisor.ask("chat") as ticket:
                assert ticket.lease is not None
                assert ticket.lease.upstream.port == home.world.runs[0].handle.port

    run_virtual(story())


def test_while_one_model_takes_ten_seconds_to_stop_others_are_granted_in_the_call_itself() -> None:
    """No turn of the event loop lies between, so there is nothing that the stop could hold up."""

    async def story() -> None:
        slow = {"slow": Faults(ignores_stop=True)}
        async with house(model("slow", 0.3), model("good", 0.3), model("cold", 0.3), faults=slow) as home:
            await asyncio.gather(home.answer("slow"), home.answer("good"))
            stopping = asyncio.gather(home.supervisor.stop("slow", wait=True))
            await asyncio.sleep(0.1)
            for _ in range(100):
                with home.supervisor.ask("good") as ticket:
                    assert ticket.lease is not None
            assert await home.answer("cold") == pytest.approx(1.0)  # nor does a start take any longer
            assert home.supervisor.state("slow") is State.STOPPING
            await stopping

    run_virtual(story())


def test_exclusive_models_swap_and_never_overlap() -> None:
    async def story() -> None:
        async with house(model("chat"), model("coder")) as home:
            await asyncio.gather(many(home, "chat", 3, 0.5), many(home, "coder", 3, 0.5))
            assert home.world.starts("chat") == home.world.starts("coder") == 1
            assert home.causes("chat")[-2:] == ["stopping (evicted)", "stopped (exited)"]

    run_virtual(story())  # house() checks the overlaps


def test_models_that_fit_together_run_together() -> None:
    async def story() -> None:
        async with house(model("site", 0.18), model("coder", 0.7)) as home:
            await asyncio.gather(home.answer("site"), home.answer("coder"))
            assert len(home.world.live()) == 2

    run_virtual(story())


def test_a_quiet_model_is_stopped_after_its_idle_time_and_not_before() -> None:
    async def story() -> None:
        async with house(model("chat", idle_s=60)) as home:
            await home.answer("chat", service_s=500)  # a stream keeps it, however long it is
            await asyncio.sleep(59)
            assert home.supervisor.state("chat") == State.READY
            await asyncio.sleep(2)
            assert home.supervisor.state("chat") == State.STOPPED
            assert home.supervisor.views()["chat"].idle_stops == 1

    run_virtual(story())


def test_a_failed_start_refuses_all_who_wait_once_and_backs_off() -> None:
    async def story() -> None:
        async with house(model("chat"), faults={"chat": Faults(start_fails=True)}) as home:
            answers = await asyncio.gather(*(home.answer("chat") for _ in range(5)), return_exceptions=True)
            refusals = [a.refusal for a in answers if isinstance(a, LeaseRefused)]
            assert len(refusals) == 5
            assert {r.code for r in refusals} == {Code.MODEL_BACKOFF}
            assert "exited with code 1" in refusals[0].message
            assert home.world.starts("chat") == 1
            with pytest.raises(LeaseRefused) as refused:
                await home.answer("chat")
            assert refused.value.refusal.retry_after_s == pytest.approx(1.0)
            await asyncio.sleep(1.1)
            home.world.faults.clear()
            await home.answer("chat")

    run_virtual(story())


def test_a_start_that_hangs_ends_at_its_timeout_and_is_killed() -> None:
    async def story() -> None:
        slow = Faults(never_ready=True, ignores_stop=True)
        async with house(model("chat", start_timeout_s=30), faults={"chat": slow}) as home:
            with pytest.raises(LeaseRefused) as refused:
                await home.answer("chat")
            assert refused.value.refusal.code is Code.START_TIMEOUT
            assert home.supervisor.now() == pytest.approx(30)
            await asyncio.sleep(5)
            assert not home.world.live()
            assert home.supervisor.state("chat") in (State.BACKOFF, State.STOPPED)

    run_virtual(story())


def test_a_crash_breaks_its_leases_and_the_next_request_mends_it() -> None:
    async def story() -> None:
        async with house(model("chat")) as home:
            told: list[Reason] = []
            with home.supervisor.ask("chat") as ticket:
                await ticket.wait()
                assert ticket.lease is not None
                ticket.lease.on_break(told.append)
                home.world.crash("chat")
                await asyncio.sleep(0.1)
                assert [reason.summary for reason in told] == ["killed by SIGKILL"]
            assert await home.answer("chat") == pytest.approx(1.0)
            assert home.world.starts("chat") == 2

    run_virtual(story())


def test_a_client_that_leaves_does_not_abort_the_start() -> None:
    async def story() -> None:
        async with house(model("chat"), faults={"chat": Faults(start_s=10)}) as home:
            with home.supervisor.ask("chat") as ticket:
                assert not await ticket.wait(1)
                assert ticket.loading().phase == "starting"
            await asyncio.sleep(9.5)
            assert home.supervisor.state("chat") == State.READY
            assert home.world.starts("chat") == 1

    run_virtual(story())


def test_an_abandoned_start_gives_way_to_who_needs_the_room() -> None:
    async def story() -> None:
        async with house(model("chat"), model("coder"), faults={"chat": Faults(start_s=100)}) as home:
            with home.supervisor.ask("chat") as ticket:
                await ticket.wait(1)
            waited_s = await home.answer("coder")
            assert waited_s < 5
            assert "stopping (abandoned)" in home.causes("chat")

    run_virtual(story())


def test_an_eviction_whose_cause_has_gone_is_called_off() -> None:
    async def story() -> None:
        async with house(model("chat"), model("coder")) as home:
            stream = asyncio.gather(home.answer("chat", service_s=50))
            await asyncio.sleep(40)
            with home.supervisor.ask("coder") as ticket:
                assert not await ticket.wait(1)
                assert home.supervisor.state("chat") == State.DRAINING
            assert home.supervisor.state("chat") == State.READY
            await stream
            assert home.world.starts("coder") == 0

    run_virtual(story())


def test_what_an_earlier_hotseat_left_running_is_adopted_without_a_new_start() -> None:
    async def story() -> None:
        chat = model("chat")
        async with house(chat) as first:
            await first.answer("chat")
            world = first.world
            await first.supervisor.close(leave_running=True)
            assert world.live("chat")
            async with house(chat, world=world) as second:
                assert await second.answer("chat") == 0.0
                assert world.starts("chat") == 1

    run_virtual(story())


def test_a_model_started_by_somebody_else_counts_and_one_stopped_by_somebody_else_is_believed() -> None:
    async def story() -> None:
        chat, coder = model("chat"), model("coder")
        async with house(chat, coder) as home:
            home.runtime.appear(coder)
            await asyncio.sleep(2)
            assert home.supervisor.state("coder") == State.READY
            await home.answer("chat")
            assert home.causes("coder")[-1] == "stopped (exited)"
            home.world.stop_outside("chat")
            await asyncio.sleep(0.1)
            assert home.causes("chat")[-1] == "stopped (stopped_outside)"

    run_virtual(story())


def test_an_unusable_runtime_refuses_and_recovers_by_itself() -> None:
    async def story() -> None:
        async with house(model("chat")) as home:
            home.runtime.why = "the engine does not answer"
            await asyncio.sleep(1.5)
            assert home.supervisor.unusable() == {"fake": "the engine does not answer"}
            with pytest.raises(LeaseRefused) as refused:
                home.supervisor.ask("chat")
            assert refused.value.refusal.code is Code.RUNTIME_UNAVAILABLE
            home.runtime.why = None
            await asyncio.sleep(1.5)
            await home.answer("chat")

    run_virtual(story())


def test_an_order_that_cannot_be_carried_out_is_refused_at_once_and_forgotten() -> None:
    async def story() -> None:
        async with house(model("chat"), model("huge", 2.0)) as home:
            home.runtime.why = "the engine does not answer"
            await asyncio.sleep(1.5)
            for wait in (True, False):
                refusal = await home.supervisor.start("chat", wait=wait)
                assert refusal is not None
                assert refusal.code is Code.RUNTIME_UNAVAILABLE
                assert "the engine does not answer" in refusal.message
            home.runtime.why = None
            await asyncio.sleep(5)
            assert home.world.starts("chat") == 0
            refusal = await home.supervisor.start("huge", wait=False)
            assert refusal is not None
            assert refusal.code is Code.MODEL_FAILED
            assert await home.supervisor.start("chat", wait=False) is None
            await asyncio.sleep(2)
            assert home.supervisor.state("chat") is State.READY

    run_virtual(story())


def test_an_order_that_waits_is_refused_when_its_runtime_goes() -> None:
    async def story() -> None:
        pinned = model("a", pinned=True, idle_s=None)
        async with house(pinned, model("b", 0.3), model("c", 0.3)) as home:
            await home.answer("a")
            with home.supervisor.ask("b") as ticket:
                await ticket.wait()
                starting = asyncio.gather(home.supervisor.start("c", wait=True))
                await asyncio.sleep(0.1)
                home.runtime.why = "the engine does not answer"
                [refusal] = await asyncio.wait_for(starting, 60)
                assert refusal is not None
                assert refusal.code is Code.RUNTIME_UNAVAILABLE

    run_virtual(story())


def test_an_operator_starts_and_stops_and_is_told_the_end() -> None:
    async def story() -> None:
        async with house(model("chat"), model("bad"), faults={"bad": Faults(start_fails=True)}) as home:
            assert await home.supervisor.start("chat", wait=True) is None
            assert home.supervisor.state("chat") == State.READY
            assert home.supervisor.requests("chat") == 0
            await home.supervisor.stop("chat", wait=True)
            assert home.supervisor.state("chat") == State.STOPPED
            refusal = await home.supervisor.start("bad", wait=True)
            assert refusal is not None
            assert "exited with code 1" in refusal.message

    run_virtual(story())


def test_spin_ups_are_measured_and_remembered() -> None:
    async def story() -> None:
        memory = Memory(chat=7.0)
        async with house(model("chat"), faults={"chat": Faults(start_s=3)}, memory=memory) as home:
            with home.supervisor.ask("chat") as ticket:
                await ticket.wait(1)
                assert ticket.loading().eta_s == pytest.approx(6.0)
                await ticket.wait()
            assert home.supervisor.spin_ups("chat") == [pytest.approx(3.0)]
            assert memory.recorded == [("chat", "cold", pytest.approx(3.0))]

    run_virtual(story())


def test_a_model_sleeps_and_wakes_with_the_door_held() -> None:
    async def story() -> None:
        nap = SleepSpec(level=1, idle_s=100)
        async with house(model("chat", idle_s=10, sleep=nap), faults={"chat": Faults(start_s=30)}) as home:
            await home.answer("chat")
            await asyncio.sleep(11)
            assert home.supervisor.state("chat") == State.ASLEEP
            assert home.supervisor.views()["chat"].footprint == {"0": 20_000}
            assert await home.answer("chat") == pytest.approx(0.2)
            await asyncio.sleep(120)
            assert home.supervisor.state("chat") == State.STOPPED

    run_virtual(story())


def test_a_model_that_does_not_wake_is_stopped_and_started_afresh_and_not_put_to_sleep_again() -> None:
    async def story() -> None:
        chat = model("chat", idle_s=10, sleep=SleepSpec(level=1))
        async with house(chat, sleeper=FakeSleeper(wake_fails=True)) as home:
            await home.answer("chat")
            await asyncio.sleep(11)
            assert home.supervisor.state("chat") == State.ASLEEP
            await home.answer("chat")
            assert home.world.starts("chat") == 2
            await asyncio.sleep(11)
            assert home.supervisor.state("chat") == State.STOPPED

    run_virtual(story())


def test_shutdown_lets_streams_end_and_refuses_the_rest() -> None:
    async def story() -> None:
        async with house(model("chat", drain_timeout_s=60)) as home:
            await home.answer("chat")
            stream = asyncio.gather(home.answer("chat", service_s=20))
            await asyncio.sleep(1)
            closing = asyncio.gather(home.supervisor.close())
            await asyncio.sleep(0.1)
            with pytest.raises(LeaseRefused) as refused:
                home.supervisor.ask("chat")
            assert refused.value.refusal.code is Code.SHUTTING_DOWN
            await asyncio.gather(stream, closing)
            assert home.supervisor.now() == pytest.approx(21.0)

    run_virtual(story())


def test_preloaded_models_that_were_left_running_are_adopted_all_of_them() -> None:
    """Which is told first must not matter: none may be started beside its own earlier run."""

    async def story() -> None:
        first_of_all = [model(name, 0.4, warm=True) for name in ("a", "b")]
        async with house(*first_of_all) as first:
            await asyncio.sleep(3)
            world = first.world
            await first.supervisor.close(leave_running=True)
            assert len(world.live()) == 2
            async with house(*reversed(first_of_all), world=world):
                await asyncio.sleep(3)
                assert [world.starts(name) for name in ("a", "b")] == [1, 1]

    run_virtual(story())


def test_a_stop_during_a_slow_launch_frees_the_memory_when_the_launch_is_undone() -> None:
    async def story() -> None:
        slow = {"a": Faults(launch_s=20)}
        async with house(model("a"), model("b"), faults=slow) as home:
            with home.supervisor.ask("a") as ticket:
                await ticket.wait(1)
            await home.answer("b")
            assert not home.world.live("a")

    run_virtual(story())  # house() checks that nothing overlapped


def test_what_comes_up_while_its_earlier_run_goes_down_is_counted() -> None:
    async def story() -> None:
        a, b = model("a"), model("b")
        async with house(a, b, faults={"a": Faults(stop_s=2)}) as home:
            await home.answer("a")
            stopping = asyncio.gather(home.supervisor.stop("a", wait=True))
            await asyncio.sleep(1)
            home.world.runs[0].end(Reason(summary="exited with code 0"))
            home.runtime.appear(a)
            await stopping
            await asyncio.sleep(2)
            assert home.supervisor.state("a") == State.READY
            assert home.world.starts("a") == 2

    run_virtual(story())


def test_an_order_that_waits_is_answered_when_somebody_else_stops_the_model() -> None:
    async def story() -> None:
        pinned, other = model("a", pinned=True, idle_s=None), model("b", 0.3)
        async with house(pinned, other, model("c", 0.3), budget=0.9) as home:
            await home.answer("a")
            with home.supervisor.ask("b") as ticket:
                await ticket.wait()
                starting = asyncio.gather(home.supervisor.start("c", wait=True))
                await asyncio.sleep(0.1)
                await home.supervisor.stop("c", wait=False)
                [refusal] = await asyncio.wait_for(starting, 60)
                assert refusal is not None

    run_virtual(story())
