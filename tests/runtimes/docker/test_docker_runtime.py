"""The Docker runtime against a real engine: whatever others do to containers is noticed and believed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from fakes import containers
from fakes.dockerd import IMAGE, Dockerd
from hotseat.probing.readiness import until_ready
from hotseat.runtimes.base import FoundRun, Handle, HealthReport, LaunchError, ReportsHealth
from hotseat.runtimes.docker.address import own_container
from hotseat.runtimes.docker.engine import DockerEngine
from hotseat.runtimes.docker.inspection import DockerUnavailable
from hotseat.runtimes.docker.runtime import DockerRuntime

pytestmark = pytest.mark.system("dockerd", "docker", "iptables", "ip")

PATIENCE_S = 30.0
CHAT = containers.model("chat")


def play(story: Callable[[DockerRuntime], Awaitable[None]], url: str) -> None:
    """Play the story on a runtime that is open."""

    async def told() -> None:
        runtime = DockerRuntime(url)
        await runtime.open()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await story(runtime)
        finally:
            await runtime.close()

    uvloop.run(told())


async def aside(call: Callable[..., object], *args: object) -> None:
    """Do what blocks beside the loop, which goes on."""
    await asyncio.to_thread(call, *args)


async def ready(handle: Handle) -> None:
    await until_ready(handle.host, handle.port, "/health")


async def until(true: Callable[[], bool]) -> None:
    """Return when it is true; the story's patience is the limit."""
    while not true():  # noqa: ASYNC110 (what is asked has no event)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def streaming(handle: Handle) -> AsyncIterator[asyncio.StreamReader]:
    """A stream that has begun."""
    reader, writer = await asyncio.open_connection(handle.host, handle.port)
    body = b'{"model": "chat", "stream": true}'
    head = (
        f"POST /v1/completions HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    )
    writer.write(head.encode() + b"\r\n" + body)
    await reader.readuntil(b"token0")
    yield reader
    writer.close()


def process_of(dockerd: Dockerd) -> int:
    """The container's first process."""
    return int(dockerd.docker("inspect", "-f", "{{.State.Pid}}", "chat").stdout)


def kill_process(dockerd: Dockerd) -> None:
    """SIGKILL the container's first process, past the engine."""
    os.kill(process_of(dockerd), signal.SIGKILL)


ACTS: dict[str, tuple[Callable[[Dockerd], object], bool, str]] = {
    "stop": (lambda it: it.docker("stop", "-t", "1", "chat"), True, "stopped by somebody else"),
    "kill": (lambda it: it.docker("kill", "chat"), True, "stopped by somebody else"),
    "remove": (lambda it: it.docker("rm", "-f", "chat"), True, "its container"),
    "kill -9 of its process": (kill_process, False, "killed by signal 9 (SIGKILL)"),
}
"""What somebody does, whether that is no crash, and what is said of it."""


@pytest.mark.parametrize("phase", ["loading", "idle", "streaming"])
@pytest.mark.parametrize("act", ACTS)
def test_an_end_by_somebody_else_is_noticed(dockerd: Dockerd, act: str, phase: str) -> None:
    do, outside, words = ACTS[act]
    containers.create(dockerd, "chat", tokens=100_000, token_interval_s=0.02, never_ready=phase == "loading")

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.start(CHAT, 1)
        if phase == "loading":
            await aside(do, dockerd)
        else:
            await ready(handle)
            if phase == "idle":
                await aside(do, dockerd)
            else:
                async with streaming(handle) as stream:
                    await aside(do, dockerd)
                    with pytest.raises(asyncio.IncompleteReadError):
                        await stream.readuntil(b"token99999 ")
        end = await runtime.wait(handle)
        assert end.outside is outside
        assert words in end.reason.summary
        await runtime.stop(handle, 5)
        if act != "remove":  # and it can be started again
            await runtime.stop(await runtime.start(CHAT, 2), 0)

    play(story, dockerd.url)


def test_a_start_by_somebody_else_is_told_of(dockerd: Dockerd) -> None:
    containers.create(dockerd, "chat")

    async def story(runtime: DockerRuntime) -> None:
        assert await runtime.recover({"chat": CHAT}) == []
        watch = runtime.watch()
        await aside(dockerd.docker, "start", "chat")
        found = await anext(watch)
        assert found.external
        assert found.handle.model == "chat"
        await ready(found.handle)
        # a restart is an end, and another start
        await aside(dockerd.docker, "restart", "-t", "1", "chat")
        assert (await runtime.wait(found.handle)).outside
        again = await anext(watch)
        assert again.external
        assert again.handle.ident != found.handle.ident
        await runtime.stop(found.handle, 0)  # the old run is gone: that stops nothing
        await ready(again.handle)
        await runtime.stop(again.handle, 1)
        assert not (await runtime.wait(again.handle)).outside

    play(story, dockerd.url)


def test_our_own_start_is_nobody_elses(dockerd: Dockerd) -> None:
    containers.create(dockerd, "chat")
    containers.create(dockerd, "coder")
    coder = containers.model("coder")

    async def story(runtime: DockerRuntime) -> None:
        await runtime.recover({"chat": CHAT, "coder": coder})
        handle = await runtime.start(CHAT, 1)
        await ready(handle)
        await aside(dockerd.docker, "start", "coder")
        found: FoundRun = await anext(runtime.watch())
        assert found.handle.model == "coder"
        await runtime.stop(handle, 1)
        await runtime.stop(found.handle, 1)

    play(story, dockerd.url)


def test_a_container_that_dies_is_a_crash_and_restart_policies_are_seen(dockerd: Dockerd) -> None:
    containers.create(dockerd, "chat", "--restart=always", says=("first words",))

    async def story(runtime: DockerRuntime) -> None:
        await runtime.recover({"chat": CHAT})
        handle = await runtime.start(CHAT, 1)
        await ready(handle)
        await aside(kill_process, dockerd)
        end = await runtime.wait(handle)
        assert not end.outside
        assert end.reason.lines[0] == "first words"
        assert "client has gone" not in end.reason.lines
        found = await anext(runtime.watch())
        assert found.external
        await ready(found.handle)
        await runtime.stop(found.handle, 1)
        state = dockerd.inspect("chat")["State"]
        assert isinstance(state, dict)
        assert state["Status"] == "exited"

    play(story, dockerd.url)


def test_pauses_are_told_and_mended_by_a_start(dockerd: Dockerd) -> None:
    containers.create(dockerd, "chat")

    async def story(runtime: DockerRuntime) -> None:
        assert isinstance(runtime, ReportsHealth)
        reports = runtime.health_reports()
        handle = await runtime.start(CHAT, 1)
        await ready(handle)
        await aside(dockerd.docker, "pause", "chat")
        report: HealthReport = await anext(reports)
        assert report.handle == handle
        assert report.trouble is not None
        assert report.trouble.summary == "its container is paused"
        await aside(dockerd.docker, "unpause", "chat")
        assert await anext(reports) == HealthReport(handle, None)
        await ready(handle)
        await aside(dockerd.docker, "pause", "chat")
        await runtime.stop(handle, 5)  # a paused one can be stopped
        assert not (await runtime.wait(handle)).outside
        await aside(dockerd.docker, "start", "chat")
        await aside(dockerd.docker, "pause", "chat")
        handle = await runtime.start(CHAT, 2)
        await ready(handle)
        await runtime.stop(handle, 1)

    play(story, dockerd.url)


def test_a_failed_health_check_is_told(dockerd: Dockerd) -> None:
    check = ("--health-cmd", "test -e /tmp/well", "--health-interval=1s", "--health-retries=1")
    containers.create(dockerd, "chat", *check)

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.start(CHAT, 1)
        reports = runtime.health_reports()
        report = await anext(reports)
        assert report.trouble is not None
        assert "health check" in report.trouble.summary
        await aside(dockerd.docker, "exec", "chat", "sh", "-c", "echo > /tmp/well")
        assert await anext(reports) == HealthReport(handle, None)
        await runtime.stop(handle, 1)

    play(story, dockerd.url)


def test_a_renamed_container_is_still_the_run_until_it_ends(dockerd: Dockerd) -> None:
    containers.create(dockerd, "chat")

    async def story(runtime: DockerRuntime) -> None:
        await runtime.recover({"chat": CHAT})
        handle = await runtime.start(CHAT, 1)
        await ready(handle)
        await aside(dockerd.docker, "rename", "chat", "other")
        await ready(handle)
        await runtime.stop(handle, 1)
        with pytest.raises(LaunchError, match="no container chat"):
            await runtime.start(CHAT, 2)
        await aside(dockerd.docker, "start", "other")
        await aside(dockerd.docker, "rename", "other", "chat")  # a running container takes the name
        found = await anext(runtime.watch())
        assert found.external
        await runtime.stop(found.handle, 1)

    play(story, dockerd.url)


def test_out_of_memory_is_said(dockerd: Dockerd) -> None:
    eat = "print('eating', flush=True); x = bytearray(1 << 30)"
    dockerd.docker("create", "--name", "chat", "--memory", "48m", IMAGE, "python3", "-c", eat)

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.start(CHAT, 1)
        end = await runtime.wait(handle)
        assert end.reason.oom
        assert not end.outside
        assert end.reason.exit_code == 137
        assert end.reason.hint is not None
        assert end.reason.lines == ("eating",)

    play(story, dockerd.url)


def test_a_container_that_ends_at_once_says_why(dockerd: Dockerd) -> None:
    """Before it could be asked where it is reached."""
    dockerd.docker("create", "--name", "chat", IMAGE, "sh", "-c", "echo no such model; exit 3")

    async def story(runtime: DockerRuntime) -> None:
        for number in range(1, 6):
            end = await runtime.wait(await runtime.start(CHAT, number))
            assert (end.reason.summary, end.outside) == ("exited with code 3", False)
            assert end.reason.lines == ("no such model",)

    play(story, dockerd.url)


def test_lines_and_tail_are_of_this_start_alone(dockerd: Dockerd) -> None:
    containers.create(dockerd, "chat", exits_after=0, says=("hello",))

    async def story(runtime: DockerRuntime) -> None:
        for number in (1, 2, 3):
            handle = await runtime.start(CHAT, number)
            lines = [line async for line in runtime.lines(handle)]
            assert lines.count("hello") == 1
            assert (await runtime.tail("chat", 100)).count("hello") == 1

    play(story, dockerd.url)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_engine_goes_and_comes_back(dockerd: Dockerd, how: signal.Signals) -> None:
    containers.create(dockerd, "chat")

    async def story(runtime: DockerRuntime) -> None:
        await runtime.recover({"chat": CHAT})
        handle = await runtime.start(CHAT, 1)
        await ready(handle)
        await aside(dockerd.stop, how)
        await until(lambda: runtime.unusable() is not None)
        assert "Docker Engine" in (runtime.unusable() or "")
        with pytest.raises(LaunchError, match="Docker Engine"):
            await runtime.start(CHAT, 2)
        assert await runtime.tail("chat", 3) == []
        if how is signal.SIGKILL:  # nobody has seen its end
            with pytest.raises(DockerUnavailable):
                await runtime.stop(handle, 1)
        await aside(dockerd.start)
        end = await runtime.wait(handle)  # without live-restore, the engine ends its containers
        assert end.outside
        await until(lambda: runtime.unusable() is None)
        handle = await runtime.start(CHAT, 3)
        await ready(handle)
        await runtime.stop(handle, 1)

    play(story, dockerd.url)


def test_an_engine_that_comes_late(dockerd: Dockerd) -> None:
    containers.create(dockerd, "chat", "--restart=always")
    dockerd.docker("start", "chat")
    dockerd.stop(signal.SIGTERM)

    async def story(runtime: DockerRuntime) -> None:
        assert "Docker Engine" in (runtime.unusable() or "")
        assert await runtime.recover({"chat": CHAT}) == []
        watch = runtime.watch()
        await aside(dockerd.start)
        found = await anext(watch)
        assert not found.external  # it ran when we looked first
        await ready(found.handle)
        await runtime.stop(found.handle, 1)

    play(story, dockerd.url)


def test_a_published_port_over_tcp_is_ready_when_the_server_is(dockerd: Dockerd) -> None:
    containers.create(dockerd, "chat", "--publish", "127.0.0.1::8000", start_s=0.5)

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.start(CHAT, 1)
        port = dockerd.docker("port", "chat", "8000/tcp").stdout.strip().rpartition(":")[2]
        assert (handle.host, handle.port) == ("127.0.0.1", int(port))
        _, writer = await asyncio.open_connection(handle.host, handle.port)  # accepts at once
        writer.close()
        assert "Application startup complete." not in await runtime.tail("chat", 100)
        await ready(handle)
        assert "Application startup complete." in await runtime.tail("chat", 100)
        await runtime.stop(handle, 1)

    play(story, dockerd.tcp_url)


def test_a_start_that_the_engine_refuses(dockerd: Dockerd) -> None:
    dockerd.docker("create", "--name", "chat", IMAGE, "no-such-program")
    containers.create(dockerd, "first", "--publish", "127.0.0.1:18423:8000")
    containers.create(dockerd, "second", "--publish", "127.0.0.1:18423:8000")

    async def story(runtime: DockerRuntime) -> None:
        with pytest.raises(LaunchError) as caught:
            await runtime.start(CHAT, 1)
        assert caught.value.reason.permanent
        assert "the program that the command names" in caught.value.reason.for_clients()
        first = await runtime.start(containers.model("first"), 1)
        with pytest.raises(LaunchError, match="port is already allocated"):
            await runtime.start(containers.model("second"), 1)
        await runtime.stop(first, 1)
        with pytest.raises(LaunchError, match="url must be http"):
            await runtime.start(containers.model("first", url="https://chat"), 1)
        assert dockerd.docker("ps", "-q").stdout == ""

    play(story, dockerd.url)


def test_what_a_container_says_of_itself(dockerd: Dockerd) -> None:
    containers.create(dockerd, "chat", "--stop-timeout=45", start_s=0.5)

    async def story(runtime: DockerRuntime) -> None:
        assert await runtime.command_of(CHAT) == tuple(containers.command("chat", start_s=0.5))
        assert await runtime.grace_of(CHAT) == 45.0
        assert await runtime.command_of(containers.model("nobody")) is None
        assert await runtime.grace_of(containers.model("nobody")) is None

    play(story, dockerd.url)


def test_a_container_knows_its_own_id(dockerd: Dockerd) -> None:
    told = dockerd.docker("run", "--name", "chat", IMAGE, "cat", "/proc/self/mountinfo").stdout
    assert own_container(told) == dockerd.inspect("chat")["Id"]


def test_a_socket_that_we_may_not_use_says_who_may(dockerd: Dockerd) -> None:
    async def why() -> str:
        runtime = DockerRuntime(dockerd.url)
        await runtime.open()
        told = runtime.unusable()
        await runtime.close()
        return told or "usable"

    assert asyncio.run(why()) == "usable"
    told, tell = os.pipe()
    if (child := os.fork()) == 0:  # another user, who could not start this Python
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(tell, asyncio.run(why()).encode())
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(told) as source:
        assert source.read() == (
            f"no permission to use the Docker Engine at {dockerd.url}: add the user that runs hotseat to the "
            "group that owns the socket (usually docker), or point DOCKER_HOST at a socket proxy"
        )
    os.waitpid(child, 0)


def test_what_ends_while_the_engine_is_away_is_no_crash(dockerd: Dockerd) -> None:
    containers.create(dockerd, "chat")

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.start(CHAT, 1)
        await ready(handle)
        pid = process_of(dockerd)
        await aside(dockerd.stop, signal.SIGKILL)
        os.kill(pid, signal.SIGTERM)
        await until(lambda: not Path(f"/proc/{pid}").exists())
        await aside(dockerd.start)
        end = await runtime.wait(handle)
        assert end.outside
        assert "while the Docker Engine was unreachable" in end.reason.summary

    play(story, dockerd.url)


@pytest.mark.parametrize("call", ["start", "inspect"])
def test_a_start_cancelled_when_the_container_runs(
    dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Whether the engine's answer is still awaited, or the address looked up."""
    containers.create(dockerd, "chat")
    starting: list[asyncio.Task[Handle]] = []
    start, inspect = DockerEngine.start, DockerEngine.inspect

    async def started(self: DockerEngine, container: str) -> None:
        await start(self, container)
        if call == "start":
            starting[0].cancel()
            await asyncio.sleep(0)
        else:
            monkeypatch.setattr(DockerEngine, "inspect", inspected)

    async def inspected(self: DockerEngine, container: str) -> Mapping[str, Any] | None:
        monkeypatch.setattr(DockerEngine, "inspect", inspect)
        starting[0].cancel()
        return await inspect(self, container)

    monkeypatch.setattr(DockerEngine, "start", started)

    async def story(runtime: DockerRuntime) -> None:
        async with asyncio.TaskGroup() as group:
            starting.append(group.create_task(runtime.start(CHAT, 1)))
        assert starting[0].cancelled()
        assert dockerd.docker("inspect", "-f", "{{.State.Status}}", "chat").stdout.strip() == "exited"
        monkeypatch.undo()
        await runtime.stop(await runtime.start(CHAT, 2), 0)

    play(story, dockerd.url)
