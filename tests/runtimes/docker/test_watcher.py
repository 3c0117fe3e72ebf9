"""Events of the Docker Engine in any order, twice, late or not at all: what is the case is seen anyway."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, cast

import pytest

from fakes import containers
from hotseat.runtimes.docker.engine import DockerEngine
from hotseat.runtimes.docker.run import ContainerRun
from hotseat.runtimes.docker.watcher import ContainerWatcher

CHAT = containers.model("chat")
ID = "a" * 64
FIRST, SECOND = "2026-11-23T19:44:30Z", "2026-11-23T19:45:00Z"
AT = 1795463070.0
"""FIRST, in seconds of the epoch."""


def container(started: str, *, running: bool = True, **state: Any) -> dict[str, Any]:
    """The container as ``docker inspect`` shows it."""
    return {
        "Id": ID,
        "Path": "serve",
        "Args": [],
        "State": {
            "Running": running,
            "Restarting": False,
            "ExitCode": 0,
            "OOMKilled": False,
            "Error": "",
            "StartedAt": started,
            "FinishedAt": "0001-01-01T00:00:00Z",
            **state,
        },
        "Config": {},
        "HostConfig": {"NetworkMode": "n"},
        "NetworkSettings": {"Networks": {"n": {"NetworkID": "n", "IPAddress": "10.0.0.2"}}},
    }


def event(action: str, after_s: float, **told: str) -> dict[str, Any]:
    """An event so long after the container's first start."""
    attributes = {"name": "chat", **told}
    return {
        "Action": action,
        "timeNano": int((AT + after_s) * 1e9),
        "Actor": {"ID": ID, "Attributes": attributes},
    }


class Told:
    """An engine of which the test says what it shows and tells."""

    url, api_version, remote_host = "unix:///told", "1.41", None

    def __init__(self, shown: dict[str, Any] | None) -> None:
        self.shown = shown
        self.asked = 0
        self.past: list[dict[str, Any]] = []
        self.telling: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.connected = asyncio.Event()

    async def negotiate(self) -> None:
        await self.connected.wait()

    async def past_events(self, since: float) -> list[dict[str, Any]]:
        return self.past

    async def events(self, since: float) -> AsyncIterator[dict[str, Any]]:
        while (told := await self.telling.get()) is not None:
            yield told

    async def inspect(self, name: str) -> Mapping[str, Any] | None:
        self.asked += 1
        return self.shown

    async def follow(self, *_: object, **__: object) -> AsyncIterator[str]:
        for line in ("last words",):
            yield line

    async def last_lines(self, *_: object) -> list[str]:
        return ["last words"]

    async def close(self) -> None:
        pass


Story = Callable[[Told, ContainerWatcher, ContainerRun], Coroutine[Any, Any, None]]


def play(story: Story) -> None:
    """Over a run that is known since FIRST."""

    async def told() -> None:
        engine = Told(container(FIRST))
        engine.connected.set()
        watcher = ContainerWatcher(cast(DockerEngine, engine))
        async with asyncio.timeout(30):
            await watcher.open()
            watcher.track(CHAT)
            found = await watcher.resync("chat")
            assert found is not None
            await settled(engine)
            await story(engine, watcher, watcher.runs["chat"])
            await watcher.close()

    asyncio.run(told())


async def settled(engine: Told) -> None:
    """What was told has been heard, and whoever looks has looked."""
    while not engine.telling.empty():  # noqa: ASYNC110 (its reader has no event for it)
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)


RESTART = [
    event("kill", 29.0, signal="15"),
    event("die", 29.5, exitCode="0"),
    event("start", 30.0),
]
ORDERS = list(itertools.permutations(range(3)))


@pytest.mark.parametrize(
    ("order", "pauses"),
    [(order, False) for order in ORDERS]
    # With time to look in between; the engine itself tells of a signal before the end that it brings.
    + [(order, True) for order in ORDERS if order.index(0) < order.index(1)],
)
def test_a_restart_is_an_end_and_one_new_start_in_whatever_order_it_is_told(
    order: tuple[int, ...], pauses: bool
) -> None:
    async def story(engine: Told, watcher: ContainerWatcher, run: ContainerRun) -> None:
        engine.shown = container(SECOND)
        for index in order:
            engine.telling.put_nowait(RESTART[index])
            if pauses:
                await settled(engine)
        found = await watcher.found_runs.get()
        assert run.exit is not None
        assert (run.exit.reason.exit_code, run.exit.reason.lines) == (0, ("last words",))
        assert run.exit.outside
        assert (found.external, found.handle.ident) == (True, f"{ID}@{SECOND}")
        for told in RESTART:  # once more, as after a reconnect
            engine.telling.put_nowait(told)
        await settled(engine)
        assert not watcher.runs["chat"].over.is_set()
        assert watcher.found_runs.empty()

    play(story)


def test_an_event_of_an_earlier_start_does_not_end_this_one() -> None:
    async def story(engine: Told, watcher: ContainerWatcher, run: ContainerRun) -> None:
        engine.telling.put_nowait(event("kill", -5.0, signal="9"))
        engine.telling.put_nowait(event("die", -4.0, exitCode="137"))
        await settled(engine)
        assert not run.over.is_set()
        assert run.evidence.signal is None
        engine.shown = None
        engine.telling.put_nowait(event("die", 9.0, exitCode="3"))
        await run.over.wait()
        assert run.exit is not None
        assert run.exit.reason.summary == "exited with code 3"

    play(story)


def test_a_signal_is_only_remembered_and_nothing_is_looked_at() -> None:
    """The engine would not answer before it has tidied up after the end, which is told of meanwhile."""

    async def story(engine: Told, watcher: ContainerWatcher, run: ContainerRun) -> None:
        asked = engine.asked
        engine.telling.put_nowait(event("kill", 9.0, signal="15"))
        engine.telling.put_nowait(event("pause", 9.1))
        engine.telling.put_nowait(event("unpause", 9.2))
        await settled(engine)
        assert engine.asked == asked
        assert run.evidence.signal == 15
        assert [watcher.health_reports.get_nowait().trouble is None for _ in range(2)] == [False, True]

    play(story)


def test_what_is_told_again_is_no_news() -> None:
    """A pause that is long over would have the run taken for hung."""

    async def story(engine: Told, watcher: ContainerWatcher, run: ContainerRun) -> None:
        for _ in range(2):
            engine.telling.put_nowait(event("pause", 9.1))
            engine.telling.put_nowait(event("unpause", 9.2))
        await settled(engine)
        assert watcher.health_reports.qsize() == 2

    play(story)


def test_an_end_that_nothing_told_of_is_seen_by_looking() -> None:
    async def story(engine: Told, watcher: ContainerWatcher, run: ContainerRun) -> None:
        engine.shown = container(FIRST, running=False, ExitCode=4)
        watcher.resync_soon("chat")
        await run.over.wait()
        assert run.exit is not None
        assert run.exit.reason.summary == "exited with code 4"

    play(story)


@pytest.mark.parametrize(
    ("heard", "summary", "outside"),
    [
        ([], "its container was stopped while the Docker Engine was unreachable", True),
        (RESTART[:2], "its container was stopped by somebody else", True),
        ([event("die", 29.5, exitCode="137")], "killed by signal 9 (SIGKILL)", False),
    ],
)
def test_after_a_gap_the_past_is_heard_before_anything_is_looked_at(
    heard: list[dict[str, Any]], summary: str, outside: bool
) -> None:
    """An engine that was only out of reach knows why; one that was restarted does not."""

    async def story(engine: Told, watcher: ContainerWatcher, run: ContainerRun) -> None:
        code = int(heard[-1]["Actor"]["Attributes"]["exitCode"]) if heard else 143
        engine.connected.clear()
        engine.telling.put_nowait(None)
        engine.shown = container(FIRST, running=False, ExitCode=code)
        engine.past = heard
        await settled(engine)
        engine.connected.set()
        await run.over.wait()
        assert run.exit is not None
        assert (run.exit.reason.summary, run.exit.outside) == (summary, outside)

    play(story)


def test_what_was_told_before_a_run_was_known_counts_for_it() -> None:
    async def story(engine: Told, watcher: ContainerWatcher, run: ContainerRun) -> None:
        watcher.models.clear()
        engine.telling.put_nowait(event("kill", 30.5, signal="15"))
        engine.telling.put_nowait(event("die", 31.0, exitCode="0"))
        await settled(engine)
        await run.over.wait()
        engine.shown = container(SECOND, running=False)
        handle = await watcher.handle(CHAT, 2, engine.shown)
        late = watcher.register(handle, engine.shown)
        await watcher.resync("chat")
        assert late.exit is not None
        assert late.exit.outside

    play(story)
