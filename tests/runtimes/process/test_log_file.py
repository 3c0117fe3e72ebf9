"""Output in files: followed, bounded, and read from its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hotseat.runtimes.process.log_file import LINE_LIMIT_BYTES, LOST, TAIL_BYTES, LogFile


class Writer:
    """A server that writes, and a follower that reads."""

    def __init__(self, folder: Path, limit_bytes: int = 1000) -> None:
        self.file = LogFile(folder, "chat", limit_bytes)
        self.fd = self.file.begin()
        self.ended = False

    def write(self, data: bytes) -> None:
        os.write(self.fd, data)

    def follow(self) -> AsyncIterator[str]:
        return self.file.follow(lambda: self.ended)

    def end(self) -> None:
        os.close(self.fd)
        self.ended = True


def test_lines_are_told_when_they_are_whole_and_the_rest_at_the_end(tmp_path: Path) -> None:
    async def story() -> None:
        writer = Writer(tmp_path)
        lines = writer.follow()
        writer.write(b"one\r\ntwo\n\nthr")
        assert [await anext(lines), await anext(lines)] == ["one", "two"]
        writer.write(b"ee\n10%\r20%\rlast")
        assert [await anext(lines) for _ in range(3)] == ["three", "10%", "20%"]
        writer.end()
        assert [line async for line in lines] == ["last"]

    asyncio.run(asyncio.wait_for(story(), 30))


def test_bytes_that_are_no_text_and_lines_without_end_do_no_harm(tmp_path: Path) -> None:
    async def story() -> None:
        writer = Writer(tmp_path)
        writer.write(b"\xff\xfe\n" + b"x" * (3 * LINE_LIMIT_BYTES))
        lines = writer.follow()
        assert await anext(lines) == "\N{REPLACEMENT CHARACTER}" * 2
        assert await anext(lines) == "x" * LINE_LIMIT_BYTES
        writer.end()
        assert [line async for line in lines] == []

    asyncio.run(asyncio.wait_for(story(), 30))


def test_a_file_that_was_shortened_is_followed_on(tmp_path: Path) -> None:
    async def story() -> None:
        writer = Writer(tmp_path)
        lines = writer.follow()
        writer.write(b"".join(b"line %d\n" % number for number in range(500)))
        assert [await anext(lines) for _ in range(500)][-1] == "line 499"
        writer.file.bound()
        assert writer.file.path.stat().st_size == 0
        assert 0 < writer.file.before.stat().st_size <= 500
        assert writer.file.before.read_bytes().endswith(b"line 499\n")
        writer.write(b"after\n")
        assert await anext(lines) == "after"
        assert writer.file.path.stat().st_size == len(b"after\n")
        writer.end()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_a_slow_reader_is_told_that_it_has_missed_lines(tmp_path: Path) -> None:
    async def story() -> None:
        writer = Writer(tmp_path)
        lines = writer.follow()
        writer.write(b"a line of sixteen" * (TAIL_BYTES // 16) + b"\n" + b"unread\n")
        first = await anext(lines)
        assert first.startswith("a line")
        writer.file.bound()
        writer.write(b"after\n")
        writer.end()
        rest = [line async for line in lines]
        assert rest[-2:] == [LOST, "after"]
        assert "unread" not in rest

    asyncio.run(asyncio.wait_for(story(), 30))


def test_a_file_within_its_limit_is_left_alone(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write(b"x" * 1000)
    writer.file.bound()
    assert writer.file.path.stat().st_size == 1000
    writer.end()


def test_a_follower_stays_with_its_run(tmp_path: Path) -> None:
    async def story() -> None:
        old = Writer(tmp_path)
        old.write(b"old\n")
        lines = old.follow()
        assert await anext(lines) == "old"
        new = Writer(tmp_path)
        new.write(b"new\n")
        old.write(b"last\n")
        old.end()
        assert [line async for line in lines] == ["last"]
        assert new.file.tail(5) == ["new"]
        assert new.file.before.read_bytes() == b"old\nlast\n"
        new.end()

    asyncio.run(asyncio.wait_for(story(), 30))


@pytest.mark.parametrize(
    ("count", "expected"), [(0, []), (2, ["two", "three"]), (9, ["one", "two", "three"])]
)
def test_the_end_is_read(tmp_path: Path, count: int, expected: list[str]) -> None:
    writer = Writer(tmp_path)
    writer.write(b"one\ntwo\nthree")
    assert writer.file.tail(count) == expected
    writer.end()


def test_of_what_is_not_there_nothing_is_read(tmp_path: Path) -> None:
    async def story() -> None:
        file = LogFile(tmp_path, "chat")
        assert file.tail(3) == []
        file.bound()
        assert [line async for line in file.follow(lambda: True)] == []

    asyncio.run(asyncio.wait_for(story(), 30))


def test_following_may_begin_before_the_end(tmp_path: Path) -> None:
    log = LogFile(tmp_path, "chat")
    log.path.write_bytes(b"one\ntwo\nthree\nhal")

    async def follow(last: int) -> list[str]:
        return [line async for line in log.follow(lambda: True, last)]

    assert asyncio.run(follow(2)) == ["two", "three", "hal"]
    assert asyncio.run(follow(0)) == ["hal"]
    assert asyncio.run(follow(99)) == ["one", "two", "three", "hal"]


def test_following_a_long_log_begins_with_a_whole_line(tmp_path: Path) -> None:
    log = LogFile(tmp_path, "chat")
    log.path.write_bytes(b"".join(b"line %d\n" % n for n in range(60_000)))

    async def follow() -> list[str]:
        return [line async for line in log.follow(lambda: True, 1_000_000)]

    lines = asyncio.run(follow())
    assert lines[-1] == "line 59999"
    assert 20_000 < len(lines) < 60_000
    assert lines == [f"line {n}" for n in range(60_000 - len(lines), 60_000)]
