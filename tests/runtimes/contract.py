"""The contract of a runtime, as tests: a subclass for each runtime says how its models are made.

class TestProcess(RuntimeContract):
    @pytest.fixture
    def rig(self, tmp_path): return ProcessRig(tmp_path)
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from hotseat.core.spec import ModelSpec
from hotseat.runtimes.base import Handle, LaunchError, Runtime

Story = Callable[[Runtime], Awaitable[None]]
PATIENCE_S = 30.0
"""Generous: only a broken runtime waits so long."""


class Rig(ABC):
    """How a runtime is set up, and what its models can be told to do.

    The faults, as keywords of ``model``: ``start_s``, ``start_fails`` (writes a failure line, exits
    with 1), ``never_ready``, ``ignores_stop``, ``exits_after`` (seconds after it was ready) with
    ``exit_code``, ``says`` (lines written at once).
    """

    @abstractmethod
    def runtime(self) -> Runtime:
        """A runtime over the rig's state; a second one is hotseat after a restart."""

    @abstractmethod
    def model(self, name: str = "chat", *, fingerprint: str = "v1", **faults: Any) -> ModelSpec:
        """A model that behaves so."""

    @abstractmethod
    def impossible(self) -> ModelSpec:
        """A model that cannot be launched, for good."""

    @abstractmethod
    async def ready(self, handle: Handle) -> None:
        """Return when the run answers."""

    @abstractmethod
    def survivors(self) -> int:
        """How many processes or containers of all models run at this moment."""

    def run(self, *stories: Story) -> None:
        """Play each story on a runtime of its own, one after the other; nothing is left at the end."""

        async def play() -> None:
            for story in stories:
                runtime = self.runtime()
                await runtime.open()
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await story(runtime)
                finally:
                    await runtime.close()
            last = self.runtime()
            await last.open()
            await last.recover({})
            await last.close()
            assert self.survivors() == 0

        self.loop(play())

    def loop(self, play: Any) -> None:
        """The event loop that the stories are played on."""
        asyncio.run(play)


async def written(runtime: Runtime, handle: Handle, text: str) -> None:
    """Return when the run has written this; what it writes later is not waited for."""
    async for line in runtime.lines(handle):
        if text in line:
            return
    raise AssertionError(f"ended without {text!r}")


class RuntimeContract:
    """What every runtime promises."""

    def test_starts_serves_and_stops(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            assert runtime.unusable() is None
            handle = await runtime.start(rig.model(start_s=0.1), 7)
            assert (handle.model, handle.run) == ("chat", 7)
            await rig.ready(handle)
            await runtime.stop(handle, 20)
            assert rig.survivors() == 0
            end = await runtime.wait(handle)
            assert not end.outside
            assert not end.reason.permanent

        rig.run(story)

    def test_start_does_not_wait_for_readiness(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            handle = await runtime.start(rig.model(never_ready=True), 1)
            async with asyncio.timeout(20):
                while rig.survivors() == 0:  # noqa: ASYNC110 (a program that is being loaded shows no mark)
                    await asyncio.sleep(0.005)
            await runtime.stop(handle, 20)

        rig.run(story)

    def test_stopping_what_is_gone_is_success(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            handle = await runtime.start(rig.model(start_s=0), 1)
            await runtime.stop(handle, 20)
            await runtime.stop(handle, 20)
            await runtime.stop(handle, 0)

        rig.run(story)

    def test_many_may_stop_and_wait(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            handle = await runtime.start(rig.model(start_s=0), 1)
            await rig.ready(handle)
            ends = asyncio.gather(runtime.wait(handle), runtime.wait(handle))
            await asyncio.gather(*(runtime.stop(handle, 20) for _ in range(3)))
            first, second = await ends
            assert first == second

        rig.run(story)

    def test_what_ignores_a_stop_is_killed(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            handle = await runtime.start(rig.model(start_s=0, ignores_stop=True), 1)
            await rig.ready(handle)
            await runtime.stop(handle, 0.2)
            assert rig.survivors() == 0
            assert (await runtime.wait(handle)).reason.signal == 9

        rig.run(story)

    def test_a_later_stop_may_be_more_urgent(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            handle = await runtime.start(rig.model(start_s=0, ignores_stop=True), 1)
            await rig.ready(handle)
            async with asyncio.TaskGroup() as group:
                group.create_task(runtime.stop(handle, 10_000))
                await asyncio.sleep(0)
                group.create_task(runtime.stop(handle, 0))
            assert rig.survivors() == 0

        rig.run(story)

    def test_no_grace_kills_at_once_while_it_loads(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            handle = await runtime.start(rig.model(never_ready=True, ignores_stop=True), 1)
            await runtime.stop(handle, 0)
            assert rig.survivors() == 0

        rig.run(story)

    def test_a_cancelled_stop_stops_nothing_else(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            handle = await runtime.start(rig.model(start_s=0, ignores_stop=True), 1)
            await rig.ready(handle)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await runtime.stop(handle, 10_000)
            assert rig.survivors() >= 1
            await runtime.stop(handle, 0)
            assert rig.survivors() == 0

        rig.run(story)

    @pytest.mark.parametrize("code", [0, 3])
    def test_an_exit_is_reported_with_its_code_and_last_lines(self, rig: Rig, code: int) -> None:
        async def story(runtime: Runtime) -> None:
            model = rig.model(start_s=0, exits_after=0.1, exit_code=code, says=("the last words",))
            handle = await runtime.start(model, 1)
            end = await runtime.wait(handle)
            assert end.reason.exit_code == code
            assert end.reason.summary == f"exited with code {code}"
            assert "the last words" in end.reason.lines
            assert not end.outside
            assert rig.survivors() == 0

        rig.run(story)

    def test_a_failing_start_is_reported_with_what_it_wrote(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            handle = await runtime.start(rig.model(start_s=0.1, start_fails=True), 1)
            end = await runtime.wait(handle)
            assert end.reason.exit_code == 1
            assert any("ValueError" in line for line in end.reason.lines)
            assert any("ValueError" in line for line in await runtime.tail("chat", 100))

        rig.run(story)

    def test_lines_come_from_the_start_to_the_end(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            says = tuple(f"line {number}" for number in range(300))
            handle = await runtime.start(rig.model(start_s=0, exits_after=0, says=says), 1)
            lines = [line async for line in runtime.lines(handle)]
            assert [line for line in lines if line.startswith("line ")] == list(says)
            assert lines[-1] == "Application startup complete."

        rig.run(story)

    def test_lines_may_begin_with_the_last_ones(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            handle = await runtime.start(rig.model(start_s=0, says=("one", "two")), 1)
            await written(runtime, handle, "Application startup complete.")
            late = runtime.lines(handle, 1)
            assert await anext(aiter(late)) == "Application startup complete."
            await runtime.stop(handle, 20)
            assert "one" not in [line async for line in late]

        rig.run(story)

    def test_tail_is_of_the_latest_run(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            assert await runtime.tail("chat", 10) == []
            first = await runtime.start(rig.model(never_ready=True, says=("one", "two")), 1)
            await written(runtime, first, "two")
            assert (await runtime.tail("chat", 2))[-1] != "one"
            await runtime.stop(first, 20)
            assert "two" in await runtime.tail("chat", 10)
            second = await runtime.start(rig.model(never_ready=True, says=("three",)), 2)
            await written(runtime, second, "three")
            assert "two" not in await runtime.tail("chat", 10)
            await runtime.stop(second, 20)

        rig.run(story)

    def test_what_cannot_be_launched_says_why(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            with pytest.raises(LaunchError) as caught:
                await runtime.start(rig.impossible(), 1)
            assert caught.value.reason.permanent
            assert caught.value.reason.summary
            assert rig.survivors() == 0

        rig.run(story)

    @pytest.mark.parametrize("turns", [0, 1, 2, 3])
    def test_a_cancelled_start_leaves_nothing(self, rig: Rig, turns: int) -> None:
        async def story(runtime: Runtime) -> None:
            handles: list[Handle] = []

            async def start() -> None:
                handles.append(await runtime.start(rig.model(), 1))

            async with asyncio.TaskGroup() as group:
                task = group.create_task(start())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
            for handle in handles:  # the launch was quicker than the cancel
                await runtime.stop(handle, 0)
            assert rig.survivors() == 0

        rig.run(story)

    def test_models_do_not_touch_each_other(self, rig: Rig) -> None:
        async def story(runtime: Runtime) -> None:
            chat = await runtime.start(rig.model("chat", start_s=0), 1)
            coder = await runtime.start(rig.model("coder", start_s=0), 1)
            assert (chat.host, chat.port) != (coder.host, coder.port)
            await rig.ready(chat)
            await rig.ready(coder)
            await runtime.stop(chat, 20)
            await rig.ready(coder)
            await runtime.stop(coder, 20)

        rig.run(story)

    def test_a_run_is_adopted_after_a_restart(self, rig: Rig) -> None:
        handles: list[Handle] = []
        model = rig.model(start_s=0, fingerprint="v1")

        async def before(runtime: Runtime) -> None:
            handles.append(await runtime.start(model, 4))
            await rig.ready(handles[0])

        async def after(runtime: Runtime) -> None:
            changed = rig.model(start_s=0, fingerprint="v2")
            (found,) = await runtime.recover({"chat": changed, "coder": rig.model("coder")})
            assert found.handle == handles[0]
            assert found.fingerprint == "v1"
            assert not found.external
            await rig.ready(found.handle)
            await runtime.stop(found.handle, 20)
            assert rig.survivors() == 0
            await runtime.wait(found.handle)

        rig.run(before, after)

    def test_the_end_of_an_adopted_run_is_seen(self, rig: Rig) -> None:
        model = rig.model(start_s=0, exits_after=1.0)

        async def before(runtime: Runtime) -> None:
            await rig.ready(await runtime.start(model, 1))

        async def after(runtime: Runtime) -> None:
            (found,) = await runtime.recover({"chat": model})
            end = await runtime.wait(found.handle)
            assert "exited" in end.reason.summary
            assert rig.survivors() == 0

        rig.run(before, after)

    def test_an_unknown_model_is_swept_away(self, rig: Rig) -> None:
        async def before(runtime: Runtime) -> None:
            await runtime.start(rig.model("gone", never_ready=True, ignores_stop=True), 1)
            await rig.ready(await runtime.start(rig.model("chat", start_s=0), 1))

        async def after(runtime: Runtime) -> None:
            (found,) = await runtime.recover({"chat": rig.model()})
            assert found.handle.model == "chat"
            await runtime.stop(found.handle, 20)
            assert rig.survivors() == 0

        rig.run(before, after)

    def test_what_ended_meanwhile_is_not_found(self, rig: Rig) -> None:
        async def before(runtime: Runtime) -> None:
            handle = await runtime.start(rig.model(start_s=0), 1)
            await runtime.stop(handle, 20)

        async def after(runtime: Runtime) -> None:
            assert await runtime.recover({"chat": rig.model()}) == []

        rig.run(before, after)
