"""Plain processes: what the contract does not say. Real processes, real signals."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fakes import launcher
from fakes.engine import command
from hotseat.core.spec import ModelSpec, SchedulingSpec
from hotseat.probing.readiness import until_ready
from hotseat.runtimes.base import LaunchError
from hotseat.runtimes.process import procfs
from hotseat.runtimes.process.launch_records import OWNER, LaunchRecord, LaunchRecords, owner_of
from hotseat.runtimes.process.runtime import ProcessRuntime
from hotseat.runtimes.process.spec import ProcessSpec


def model(*words: str, name: str = "chat", **launch: Any) -> ModelSpec:
    """A model with this command; without one, the fake engine."""
    seat = SchedulingSpec(name=name, footprint={}, fingerprint="v1")
    return ModelSpec(name=name, scheduling=seat, launch=ProcessSpec(command=words or command(), **launch))


def script(text: str) -> tuple[str, ...]:
    """A shell as the leader."""
    return ("sh", "-c", text + " # {port}")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory; whatever a failed test leaves running is killed."""
    path = tmp_path / "state"
    yield path
    for one in living(path):
        procfs.kill(one, signal.SIGKILL)


def living(state: Path) -> list[procfs.Stat]:
    """All marked processes of a state directory."""
    owner = owner_of(state)
    return procfs.processes(lambda one: procfs.environ(one.pid).get(OWNER) == owner)


def gone(pid: int) -> bool:
    one = procfs.stat(pid)
    return one is None or one.ended


@asynccontextmanager
async def opened(state: Path) -> AsyncIterator[ProcessRuntime]:
    runtime = ProcessRuntime(state)
    await runtime.open()
    assert runtime.unusable() is None
    try:
        yield runtime
    finally:
        await runtime.close()


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story; a hang is a failure."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(bounded())


async def first(lines: AsyncIterator[str], start: str) -> str:
    """What follows ``start`` in the first line that begins with it."""
    async for line in lines:
        if line.startswith(start):
            return line.removeprefix(start)
    raise AssertionError(f"ended without {start!r}")


async def until(true: Callable[[], bool]) -> None:
    """Ask until it is so; ``play`` bounds it."""
    while not true():  # noqa: ASYNC110 (nobody tells us of what strangers' processes do)
        await asyncio.sleep(0.01)


def killed_launcher(state: Path, moment: str, *words: str, name: str = "chat") -> None:
    """A hotseat that launched a model and was killed at that moment."""
    # -P: beside the launcher lies a fake of the name hotseat.
    done = subprocess.run(
        [sys.executable, "-P", launcher.__file__, str(state), moment, name, *words], check=False
    )
    assert done.returncode == -signal.SIGKILL


# After kill -9 of hotseat


@pytest.mark.parametrize("moment", ["before-record", "launched", "stopping"])
def test_a_run_is_found_whenever_hotseat_was_killed(state: Path, moment: str) -> None:
    killed_launcher(state, moment, *command("--ignores-stop"))
    assert len(list((state / "runs").glob("*.json"))) == (moment != "before-record")

    async def story() -> None:
        async with opened(state) as runtime:
            (found,) = await runtime.recover({"chat": model()})
            assert (found.handle.model, found.handle.run, found.fingerprint) == ("chat", 5, "v1")
            assert len(living(state)) == 1
            await until_ready(found.handle.host, found.handle.port)
            assert await runtime.recover({"chat": model()}) == []  # it is ours now
            assert len(living(state)) == 1
            await runtime.stop(found.handle, 0.1)
            assert living(state) == []
            assert list((state / "runs").iterdir()) == []

    play(story)


def test_an_adopted_run_survives_a_second_kill(state: Path) -> None:
    killed_launcher(state, "before-record", *command())

    async def story() -> None:
        async with opened(state) as runtime:
            (before,) = await runtime.recover({"chat": model()})
        async with opened(state) as runtime:
            (after,) = await runtime.recover({"chat": model()})
            assert after == before
            await runtime.stop(after.handle, 20)

    play(story)


def test_a_run_that_wrote_over_its_environment_is_found_by_its_record(state: Path) -> None:
    killed_launcher(state, "launched", "env", "-i", *command())

    async def story() -> None:
        async with opened(state) as runtime:
            (found,) = await runtime.recover({"chat": model()})
            await until(lambda: living(state) == [])  # env has given way to the server
            pid = int(found.handle.ident.partition(":")[0])
            await runtime.stop(found.handle, 20)
            assert gone(pid)

    play(story)


def test_workers_of_a_dead_leader_are_swept_though_nothing_marks_them(state: Path) -> None:
    killed_launcher(state, "launched", *script("env -i sleep 600 & echo worker $!; wait"))
    (record,) = LaunchRecords(state / "runs").all()

    async def story() -> None:
        async with opened(state) as runtime:
            await until(lambda: "worker" in (state / "logs" / "chat.log").read_text())
            worker = int((await runtime.tail("chat", 1))[0].removeprefix("worker "))
            os.kill(record.pid, signal.SIGKILL)
            await until(lambda: gone(record.pid))
            assert not gone(worker)
            assert await runtime.recover({"chat": model()}) == []
            assert gone(worker)
            assert list((state / "runs").iterdir()) == []

    play(story)


def test_of_two_copies_the_one_on_record_is_kept(state: Path) -> None:
    killed_launcher(state, "launched", *command())
    killed_launcher(state, "before-record", *command())
    (record,) = LaunchRecords(state / "runs").all()
    assert len(living(state)) == 2

    async def story() -> None:
        async with opened(state) as runtime:
            (found,) = await runtime.recover({"chat": model()})
            assert found.handle.port == record.port
            (left,) = living(state)
            assert left.pid == record.pid
            await runtime.stop(found.handle, 20)

    play(story)


def test_nothing_of_another_state_directory_is_touched(state: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(state) as ours, opened(tmp_path / "other") as theirs:
            handle = await theirs.start(model(), 1)
            assert await ours.recover({}) == []
            await until_ready(handle.host, handle.port)
            await theirs.stop(handle, 20)

    play(story)


@pytest.mark.parametrize("wrong", [{"start": 1}, {"boot": "another"}])
def test_a_number_that_was_used_again_is_no_identity(state: Path, wrong: dict[str, Any]) -> None:
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        now = procfs.stat(bystander.pid)
        assert now is not None
        true = LaunchRecord(
            launch="x", model="chat", run=1, port=1, fingerprint="", pid=now.pid, start=now.start,
            boot=procfs.boot_id(),
        )  # fmt: skip
        assert true.leader() is not None
        assert [one.pid for one in true.members()] == [now.pid]
        assert replace(true, **wrong).leader() is None
        assert replace(true, **wrong).members() == []
        (state / "runs").mkdir(parents=True)
        LaunchRecords(state / "runs").write(replace(true, **wrong))

        async def story() -> None:
            async with opened(state) as runtime:
                assert await runtime.recover({"chat": model()}) == []
                assert await runtime.recover({}) == []

        play(story)
        assert bystander.poll() is None
        assert list((state / "runs").iterdir()) == []
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"launch": "x"}', '{"pid": "1"}', "null"])
def test_a_broken_record_is_thrown_away(state: Path, text: str) -> None:
    (state / "runs").mkdir(parents=True)
    (state / "runs" / "chat.json").write_text(text)

    async def story() -> None:
        async with opened(state) as runtime:
            assert await runtime.recover({"chat": model()}) == []

    play(story)
    assert list((state / "runs").iterdir()) == []


def test_a_record_with_a_wrong_kind_of_value_is_thrown_away(tmp_path: Path) -> None:
    good = asdict(
        LaunchRecord(launch="x", model="chat", run=1, port=1, fingerprint="", pid=5, start=1, boot="b")
    )
    for name in good:
        (tmp_path / "chat.json").write_text(json.dumps({**good, name: None}))
        assert LaunchRecords(tmp_path).all() == [], name
    (tmp_path / "chat.json").write_text(json.dumps({**good, "pid": 1}))
    assert LaunchRecords(tmp_path).all() == []


# Ends


def test_a_child_that_outlives_its_leader_is_killed_before_the_end_is_reported(state: Path) -> None:
    async def story() -> None:
        async with opened(state) as runtime:
            engine = command("--spawns-child", "--exits-after", "0", "--exit-code", "4")
            handle = await runtime.start(model(*engine), 1)
            end = await runtime.wait(handle)
            assert end.reason.exit_code == 4
            child = int(await first(runtime.lines(handle), "child "))
            assert gone(child)
            assert living(state) == []

    play(story)


@pytest.mark.parametrize("leader", [signal.SIGKILL, None])
def test_a_child_in_another_session_is_killed_too(state: Path, leader: signal.Signals | None) -> None:
    async def story() -> None:
        async with opened(state) as runtime:
            handle = await runtime.start(model(*command("--child-escapes")), 1)
            child = int(await first(runtime.lines(handle), "child "))
            await until_ready(handle.host, handle.port)
            if leader is None:
                await runtime.stop(handle, 10_000)  # what was not asked has no grace to use up
            else:
                os.kill(int(handle.ident.partition(":")[0]), leader)
                assert (await runtime.wait(handle)).reason.summary == "killed by SIGKILL"
            assert gone(child)
            assert living(state) == []

    play(story)


def test_workers_get_the_rest_of_the_grace_when_a_stop_was_ordered(state: Path) -> None:
    worker = "trap 'sleep 0.3; echo cleaned up; exit' TERM; echo up; while :; do sleep 0.05; done"

    async def story() -> None:
        async with opened(state) as runtime:
            handle = await runtime.start(model(*script(f"sh -c {shlex.quote(worker)} & wait")), 1)
            await first(runtime.lines(handle), "up")
            await runtime.stop(handle, 30)
            assert "cleaned up" in await runtime.tail("chat", 5)
            assert living(state) == []

    play(story)


def test_a_stop_that_is_swallowed_while_it_loads_ends_in_force(state: Path) -> None:
    async def story() -> None:
        async with opened(state) as runtime:
            engine = command("--deaf-while-loading", "--never-ready", "--says", "loading")
            handle = await runtime.start(model(*engine), 1)
            await first(runtime.lines(handle), "loading")
            await runtime.stop(handle, 0.2)
            end = await runtime.wait(handle)
            assert end.reason.signal == signal.SIGKILL
            assert "SIGTERM swallowed" in end.reason.lines

    play(story)


def test_no_zombie_is_left(state: Path) -> None:
    async def story() -> None:
        async with opened(state) as runtime:
            for number in range(3):
                handle = await runtime.start(model(*command("--exits-after", "0")), number)
                await runtime.wait(handle)
                assert procfs.stat(int(handle.ident.partition(":")[0])) is None

    play(story)


def test_closing_lets_runs_be(state: Path) -> None:
    async def story() -> None:
        async with opened(state) as runtime:
            handle = await runtime.start(model(), 1)
        await until_ready(handle.host, handle.port)
        with pytest.raises(LaunchError):
            await runtime.start(model(), 2)
        async with opened(state) as runtime:
            assert await runtime.recover({}) == []
        assert living(state) == []

    play(story)


# Launching


def test_a_server_gets_our_environment_without_our_secrets(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = ("VLLM_API_KEY", "ADMIN_API_KEY", "UPSTREAM_API_KEY", "HOTSEAT_CONFIG", "NOTIFY_SOCKET")
    for name in secret:
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("HF_HOME", "/cache")
    shown = (*secret, "HF_HOME", "WHERE", "SPT_NOENV")
    text = "".join(f'echo "{name}=${name}"; ' for name in shown)

    async def story() -> None:
        async with opened(state) as runtime:
            env = {"WHERE": "port {port}", "UPSTREAM_API_KEY": "its own"}
            handle = await runtime.start(model("sh", "-c", text, env=env), 1)
            lines = [line async for line in runtime.lines(handle)]
            assert lines == [
                "VLLM_API_KEY=", "ADMIN_API_KEY=", "UPSTREAM_API_KEY=its own", "HOTSEAT_CONFIG=",
                "NOTIFY_SOCKET=", "HF_HOME=/cache", f"WHERE=port {handle.port}",
                "SPT_NOENV=1",  # titles of processes leave our marks alone
            ]  # fmt: skip

    play(story)


def test_it_runs_in_its_folder_in_a_session_of_its_own(state: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(state) as runtime:
            words = script("pwd; read line || echo no input; exec sleep 600")
            handle = await runtime.start(model(*words, cwd=str(tmp_path)), 1)
            await first(runtime.lines(handle), str(tmp_path))
            await first(runtime.lines(handle), "no input")
            leader = procfs.stat(int(handle.ident.partition(":")[0]))
            assert leader is not None
            assert leader.pid == leader.session == leader.group
            await runtime.stop(handle, 20)

    play(story)


def test_why_a_command_cannot_be_launched(state: Path, tmp_path: Path) -> None:
    plain, bad = tmp_path / "plain", tmp_path / "bad"
    plain.write_text("text")
    bad.write_text("#!/no/such/interpreter\n")
    bad.chmod(0o755)
    cases = [
        (model("no-such-command", "{port}"), "command not found: no-such-command"),
        (model("/no/such/command", "{port}"), "command not found: /no/such/command"),
        (model(str(plain), "{port}"), f"not executable: {plain}"),
        (model(str(bad), "{port}"), f"the interpreter of {bad} was not found"),
        (model("true", "{port}", cwd="/no/such/folder"), "working directory not found: /no/such/folder"),
        (model("true", "--port", "8000"), "the command of chat has no {port}"),
        (model("true", "a\0b{port}"), "cannot run 'true': embedded null byte"),
    ]

    async def story() -> None:
        async with opened(state) as runtime:
            for spec, words in cases:
                with pytest.raises(LaunchError) as caught:
                    await runtime.start(spec, 1)
                assert caught.value.reason.summary == words
                assert caught.value.reason.permanent
            assert list((state / "runs").iterdir()) == []

    play(story)


def test_a_state_that_cannot_be_written_is_no_reason_not_to_serve(state: Path) -> None:
    async def story() -> None:
        async with opened(state) as runtime:
            for folder in ("logs", "runs"):
                (state / folder).rmdir()
                (state / folder).write_text("in the way")
            handle = await runtime.start(model(), 1)
            await until_ready(handle.host, handle.port)
            assert await runtime.tail("chat", 5) == []
            assert [line async for line in runtime.lines(handle)] == []
            await runtime.stop(handle, 20)

    play(story)


def test_a_name_is_no_path(state: Path) -> None:
    async def story() -> None:
        async with opened(state) as runtime:
            handle = await runtime.start(model(*script("echo hello"), name="../a/b"), 1)
            await runtime.wait(handle)
            assert await runtime.tail("../a/b", 1) == ["hello"]
            assert [path.name for path in (state / "logs").iterdir()] == ["..%2Fa%2Fb.log"]

    play(story)


# The state directory


def test_two_cannot_share_a_state_directory(state: Path) -> None:
    async def story() -> None:
        second = ProcessRuntime(state)
        async with opened(state):
            await second.open()
            why = second.unusable()
            assert why is not None
            assert f"pid {os.getpid()}" in why
            assert str(state) in why
            with pytest.raises(LaunchError, match="another hotseat"):
                await second.start(model(), 1)
            assert await second.recover({}) == []
            await second.close()
        async with opened(state):
            pass

    play(story)


def test_a_state_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def story() -> None:
        runtime = ProcessRuntime(tmp_path / "file" / "state")
        assert runtime.unusable() is not None
        await runtime.open()
        why = runtime.unusable()
        assert why is not None
        assert why.startswith(f"cannot write to the state directory {tmp_path}/file/state")
        with suppress(LaunchError):
            await runtime.start(model(), 1)
        await runtime.close()

    play(story)


def test_what_we_keep_is_for_its_owner_only(state: Path) -> None:
    async def story() -> None:
        async with opened(state) as runtime:
            handle = await runtime.start(model(*command("--exits-after", "0")), 1)
            await runtime.wait(handle)

    play(story)
    for path in (state, *state.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
