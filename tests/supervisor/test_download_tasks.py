"""Downloads before starts, on virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fakes.clock import run_virtual
from fakes.models import FakeFiles, house, model
from fakes.runtime import Faults
from hotseat.core.errors import Code, Reason
from hotseat.core.spec import ModelSpec
from hotseat.core.states import State
from hotseat.gateway.proxy.lease import LeaseRefused


def hub_model(name: str, share: float = 0.6, **terms: Any) -> ModelSpec:
    return model(name, share, **{"download_timeout_s": 3600.0, **terms})


def test_a_client_waits_and_is_told_how_far_it_is() -> None:
    async def story() -> None:
        files = FakeFiles(missing=["chat"], take_s=1000)
        async with house(hub_model("chat"), files=files) as home:
            with home.supervisor.ask("chat") as ticket:
                await asyncio.sleep(1)
                told = ticket.loading()
                assert (told.state, told.phase, told.eta_s) == (
                    State.DOWNLOADING,
                    "looking for its files",
                    None,
                )
                await asyncio.sleep(500)
                told = ticket.loading()
                assert (told.state, told.phase, told.eta_s) == (State.DOWNLOADING, "50 %", 500)
                assert home.supervisor.phase("chat") == "50 %"
                assert home.world.starts("chat") == 0
                assert await ticket.wait()
                assert home.supervisor.now() == pytest.approx(1001)
            assert home.supervisor.phase("chat") is None
            assert home.supervisor.spin_ups("chat") == [1.0]  # the start alone

    run_virtual(story())


def test_what_is_there_starts_at_once() -> None:
    async def story() -> None:
        files = FakeFiles()
        async with house(hub_model("chat"), files=files) as home:
            assert await home.answer("chat") == pytest.approx(1.0)
            assert files.begun == []
            assert home.causes("chat")[0] == "starting (demand)"

    run_virtual(story())


def test_another_model_serves_meanwhile() -> None:
    async def story() -> None:
        files = FakeFiles(missing=["chat"], take_s=1000)
        async with house(hub_model("chat"), model("coder"), files=files) as home:
            waiting = asyncio.gather(home.answer("chat"))
            for _ in range(100):
                assert await home.answer("coder", 1.0) <= 1.0
            assert home.world.starts("coder") == 1
            await waiting

    run_virtual(story())


def test_a_failure_is_told_to_all_who_wait_and_not_tried_at_once() -> None:
    async def story() -> None:
        reason = Reason(summary="download: acme/tiny: gated", permanent=True)
        files = FakeFiles(missing=["chat"], fails=reason)
        async with house(hub_model("chat"), files=files) as home:
            ends = await asyncio.gather(*(home.answer("chat") for _ in range(3)), return_exceptions=True)
            assert [end.refusal.code for end in ends if isinstance(end, LeaseRefused)] == [
                Code.MODEL_FAILED
            ] * 3
            with pytest.raises(LeaseRefused, match="gated"):
                home.supervisor.ask("chat")
            assert files.begun == ["chat"]
            told = await home.supervisor.start("chat", wait=True)  # an operator's word tries again
            assert told is not None
            assert "gated" in told.message
            assert files.begun == ["chat", "chat"]

    run_virtual(story())


def test_the_operators_stop_and_the_end_cancel_it() -> None:
    async def story() -> None:
        files = FakeFiles(missing=["chat", "coder"], take_s=1000)
        async with house(hub_model("chat"), hub_model("coder"), files=files) as home:
            asked = asyncio.gather(home.answer("chat"), home.answer("coder"), return_exceptions=True)
            await asyncio.sleep(1)
            await home.supervisor.stop("chat", wait=True)
            await asyncio.sleep(0)
            assert files.cancelled == ["chat"]
            assert home.supervisor.views()["chat"].state is State.STOPPED
            await home.supervisor.close()
            assert files.cancelled == ["chat", "coder"]
            codes = [end.refusal.code for end in await asked if isinstance(end, LeaseRefused)]
            assert codes == [Code.STOPPED_BY_OPERATOR, Code.SHUTTING_DOWN]

    run_virtual(story())


def test_one_that_takes_too_long_is_cancelled() -> None:
    async def story() -> None:
        files = FakeFiles(missing=["chat"], take_s=1000)
        async with house(hub_model("chat", download_timeout_s=60.0), files=files) as home:
            with pytest.raises(LeaseRefused, match="not downloaded within 60 s"):
                await home.answer("chat")
            await asyncio.sleep(0)
            assert files.cancelled == ["chat"]

    run_virtual(story())


def test_files_that_vanish_are_missed_after_a_failed_start() -> None:
    async def story() -> None:
        files = FakeFiles()
        faults = {"chat": Faults(start_fails=True)}
        async with house(hub_model("chat"), files=files, faults=faults) as home:
            files.missing.add("chat")
            with pytest.raises(LeaseRefused):
                await home.answer("chat")
            home.world.faults["chat"] = Faults()
            await asyncio.sleep(60)
            await home.answer("chat")
            assert files.begun == ["chat"]

    run_virtual(story())


def test_a_bug_in_a_download_leaves_nobody_waiting() -> None:
    class Broken(FakeFiles):
        async def download(self, model: ModelSpec, tell: Any) -> Reason | None:
            raise RuntimeError("a bug")

    async def story() -> None:
        async with house(hub_model("chat"), files=Broken(missing=["chat"])) as home:
            with pytest.raises(LeaseRefused, match="a bug"):
                await home.answer("chat")

    run_virtual(story())
