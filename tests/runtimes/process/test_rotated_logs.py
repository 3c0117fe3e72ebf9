"""The lines of a run are found after somebody rotated its log; a full disk and one without locks are told."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gzip
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fakes.engine import command
from hotseat.core.spec import ModelSpec, SchedulingSpec
from hotseat.runtimes.process import runtime as process_runtime
from hotseat.runtimes.process.log_file import LogFile
from hotseat.runtimes.process.runtime import ProcessRuntime
from hotseat.runtimes.process.spec import ProcessSpec


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogFile]:
    """The log of a second run: the first one's lines must not be mistaken for its own."""
    made = LogFile(tmp_path, "chat")
    os.close(write(made.begin(), "of the run before"))
    with closing(made):
        yield made


def write(output: int, *lines: str) -> int:
    os.write(output, "".join(f"{line}\n" for line in lines).encode())
    return output


def rename_and_create(path: Path) -> None:
    """logrotate's ``create``, twice."""
    for older, newer in ((".log.2", ".log.1"), (".log.1", ".log")):
        if path.with_suffix(newer).exists():
            path.with_suffix(newer).replace(path.with_suffix(older))
    path.touch(0o600)


def rename_alone(path: Path) -> None:
    """logrotate's ``nocreate`` with ``dateext``."""
    path.replace(path.with_name(path.name + "-20261128"))


def copy_and_truncate(path: Path) -> None:
    if path.with_suffix(".log.1").exists():
        path.with_suffix(".log.1").replace(path.with_suffix(".log.2"))
    shutil.copy(path, path.with_suffix(".log.1"))
    os.truncate(path, 0)


def copy_compressed(path: Path) -> None:
    with gzip.open(path.with_suffix(".log.1.gz"), "wb") as file:
        file.write(path.read_bytes())
    os.truncate(path, 0)


ROTATIONS = [rename_and_create, rename_alone, copy_and_truncate, copy_compressed]


@pytest.mark.parametrize("rotate", ROTATIONS)
def test_the_last_lines_are_found_after_a_rotation(log: LogFile, rotate: Callable[[Path], None]) -> None:
    output = write(log.begin(), "one", "two")
    rotate(log.path)
    assert log.tail(9) == ["one", "two"]
    write(output, "three")
    assert log.tail(9) == ["one", "two", "three"]
    assert log.tail(2) == ["two", "three"]
    os.close(output)


def test_lines_that_were_truncated_for_their_size_are_found(tmp_path: Path) -> None:
    with closing(LogFile(tmp_path, "chat", limit_bytes=1000)) as log:
        output = write(log.begin(), *(f"line {n}" for n in range(200)))
        log.bound()
        write(output, "last")
        assert log.tail(3) == ["line 198", "line 199", "last"]
        os.close(output)


@pytest.mark.parametrize("rotate", ROTATIONS)
def test_a_new_reader_after_a_rotation_gets_the_last_lines_and_the_next_ones(
    log: LogFile, rotate: Callable[[Path], None]
) -> None:
    async def story() -> None:
        output = write(log.begin(), "one", "two")
        rotate(log.path)
        ended = False
        lines = log.follow(lambda: ended, 5)
        assert [await anext(lines), await anext(lines)] == ["one", "two"]
        write(output, "three")
        assert await anext(lines) == "three"
        ended = True
        assert [line async for line in lines] == []
        os.close(output)

    asyncio.run(story())


def test_a_renamed_file_is_still_bounded(tmp_path: Path) -> None:
    with closing(LogFile(tmp_path, "chat", limit_bytes=1000)) as log:
        output = log.begin()
        rename_and_create(log.path)
        write(output, *(f"line {n}" for n in range(2000)))
        log.bound()
        assert os.fstat(output).st_size == 0
        os.close(output)


# Through the runtime


def model(*options: str) -> ModelSpec:
    seat = SchedulingSpec(name="chat", footprint={}, fingerprint="v1")
    return ModelSpec(name="chat", scheduling=seat, launch=ProcessSpec(command=command(*options)))


@pytest.mark.parametrize("rotate", ROTATIONS)
@pytest.mark.parametrize("adopted", [False, True], ids=["own", "adopted"])
def test_the_cause_of_a_death_is_found_after_a_rotation(
    tmp_path: Path, rotate: Callable[[Path], None], adopted: bool
) -> None:
    async def story() -> None:
        runtime = ProcessRuntime(tmp_path)
        await runtime.open()
        handle = await runtime.start(model("--says", "the cause"), 1)
        async for line in runtime.lines(handle):
            if line == "the cause":
                break
        if adopted:
            await runtime.close()
            runtime = ProcessRuntime(tmp_path)
            await runtime.open()
            (found,) = await runtime.recover({"chat": model()})
            handle = found.handle
        rotate(tmp_path / "logs" / "chat.log")
        os.kill(int(handle.ident.partition(":")[0]), signal.SIGKILL)
        async with asyncio.timeout(30):
            end = await runtime.wait(handle)
        assert "the cause" in end.reason.lines
        assert "the cause" in await runtime.tail("chat", 100)
        await runtime.close()

    asyncio.run(story())


def test_on_a_full_disk_a_model_starts_and_its_output_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tmp_path / "state"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(process_runtime.tempfile, "tempdir", str(tmp_path))
    real = os.posix_fallocate

    def fallocate(fd: int, offset: int, length: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").startswith(str(full)):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", fallocate)

    async def story() -> None:
        runtime = ProcessRuntime(full)
        await runtime.open()
        handle = await runtime.start(model("--says", "hello"), 1)
        async for line in runtime.lines(handle):
            if line == "hello":
                break
        assert "hello" in await runtime.tail("chat", 9)
        await runtime.stop(handle, 5)
        await runtime.close()

    asyncio.run(story())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)

    async def story() -> None:
        runtime = ProcessRuntime(tmp_path)
        await runtime.open()
        why = runtime.unusable()
        assert why is not None
        assert "has no file locks" in why
        assert "another hotseat" not in why
        await runtime.close()

    asyncio.run(story())
