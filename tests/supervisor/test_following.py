"""What models write, followed from one run to the next, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fakes.clock import run_virtual
from fakes.models import House, house, model
from fakes.runtime import Faults
from hotseat.core.states import State


class Follower:
    """One who follows; ``lines`` is what came."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self.lines: list[str] = []
        self._source = lines

    async def read(self) -> None:
        async for line in self._source:
            self.lines.append(line)


SAYS = {"chat": Faults(says=("one", "two", "three"))}


def say(home: House, *lines: str) -> None:
    home.world.runs[-1].say(*lines)


def test_the_last_lines_then_those_to_come_then_those_of_the_next_run() -> None:
    async def story() -> None:
        async with house(model("chat"), faults=SAYS) as home, asyncio.TaskGroup() as group:
            await home.answer("chat")
            said = len(home.world.runs[-1].lines)
            say(home, "a", "b", "c")
            early = Follower(home.supervisor.follow("chat", said + 3))
            late = Follower(home.supervisor.follow("chat", 2))
            tasks = [group.create_task(follower.read()) for follower in (early, late)]
            await asyncio.sleep(1)
            assert late.lines == ["b", "c"]
            assert early.lines[-3:] == ["a", "b", "c"]
            say(home, "d")
            await asyncio.sleep(1)
            assert late.lines == ["b", "c", "d"]
            await home.supervisor.stop("chat", wait=True)
            await asyncio.sleep(1)
            seen = len(late.lines)
            await home.answer("chat")
            say(home, "of the second run")
            await asyncio.sleep(1)
            assert late.lines[seen:] == home.world.runs[-1].lines
            assert late.lines[-1] == "of the second run"
            for task in tasks:
                task.cancel()

    run_virtual(story())


def test_a_model_that_does_not_run_gives_its_tail_and_waits() -> None:
    async def story() -> None:
        async with house(model("chat"), faults=SAYS) as home, asyncio.TaskGroup() as group:
            waiting = Follower(home.supervisor.follow("chat", 5))
            task = group.create_task(waiting.read())
            await asyncio.sleep(100)
            assert waiting.lines == []
            await home.answer("chat")
            await asyncio.sleep(1)
            assert waiting.lines == home.world.runs[-1].lines
            task.cancel()
            await home.supervisor.stop("chat", wait=True)
            after = Follower(home.supervisor.follow("chat", 1))
            task = group.create_task(after.read())
            await asyncio.sleep(1)
            assert after.lines == home.world.runs[-1].lines[-1:]
            task.cancel()

    run_virtual(story())


def test_phases_are_told_as_they_come() -> None:
    async def story() -> None:
        async with house(model("chat")) as home:
            await home.answer("chat")
            assert home.phases[0] == ("chat", 1, "starting")

    run_virtual(story())


def test_only_a_run_that_answers_has_an_address() -> None:
    async def story() -> None:
        async with house(model("chat")) as home:
            assert home.supervisor.upstream("chat") is None
            await home.answer("chat")
            upstream = home.supervisor.upstream("chat")
            assert upstream is not None
            assert upstream.port == home.world.runs[-1].handle.port
            await home.supervisor.stop("chat", wait=True)
            assert home.supervisor.views()["chat"].state is State.STOPPED
            assert home.supervisor.upstream("chat") is None

    run_virtual(story())
