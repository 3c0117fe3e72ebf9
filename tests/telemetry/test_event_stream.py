"""The event stream: what readers get, what slow ones lose, and what they cost."""

from __future__ import annotations

import asyncio
import json

from fakes.clock import run_virtual
from hotseat.telemetry.event_stream import HELD, KEPT, EventReader, EventStream, StreamEvent


def numbers(events: list[StreamEvent]) -> list[int]:
    return [json.loads(event.data)["n"] for event in events]


def publish(stream: EventStream, count: int, first: int = 0) -> None:
    for n in range(first, first + count):
        stream.publish("move", {"n": n})


def test_a_reader_gets_what_comes_after_it() -> None:
    stream = EventStream()
    publish(stream, 3)
    with stream.reader() as reader:
        publish(stream, 2, first=3)
        dropped, events = reader.take()
        assert (dropped, numbers(events)) == (0, [3, 4])
        assert reader.take() == (0, [])


def test_who_comes_back_gets_what_it_missed() -> None:
    stream = EventStream("b00t")
    with stream.reader() as reader:
        publish(stream, 4)
        seen = stream.event_id(reader.take()[1][1])
    assert seen == "b00t-2"
    with stream.reader(seen) as again:
        assert numbers(again.take()[1]) == [2, 3]


def test_after_a_restart_it_gets_all_that_is_kept() -> None:
    stream = EventStream("new")
    publish(stream, 3)
    for after in ("old-2", "old-99", "nonsense", "new-x", ""):
        with stream.reader(after) as reader:
            assert (reader.take()[0], len(stream)) == (0, 1)
        with stream.reader(after) as reader:
            assert numbers(reader.take()[1]) == [0, 1, 2], after


def test_what_the_ring_has_lost_is_told() -> None:
    stream = EventStream("b")
    publish(stream, KEPT + 10)
    with stream.reader("b-4") as reader:
        dropped, events = reader.take()
        assert dropped + len(events) == KEPT + 10 - 4
        assert numbers(events)[-1] == KEPT + 9


def test_a_slow_reader_loses_the_oldest_and_learns_how_many() -> None:
    stream = EventStream()
    with stream.reader() as slow, stream.reader() as quick:
        for n in range(HELD + 7):
            publish(stream, 1, first=n)
            quick.take()
        dropped, events = slow.take()
        assert (dropped, numbers(events)) == (7, list(range(7, HELD + 7)))
        publish(stream, 1)
        assert slow.take()[0] == 0  # told once
    assert len(stream) == 0


def test_waiting_ends_with_news_or_with_the_time() -> None:
    async def story() -> None:
        stream = EventStream()
        with stream.reader() as reader:
            assert not await reader.wait(15)
            asyncio.get_running_loop().call_later(5, publish, stream, 1)
            assert await reader.wait(15)
            assert numbers(reader.take()[1]) == [0]
            assert not await reader.wait(15)

    run_virtual(story())


def test_a_reader_that_has_gone_is_forgotten() -> None:
    stream = EventStream()
    readers: list[EventReader] = []
    for _ in range(3):
        with stream.reader() as reader:
            readers.append(reader)
    publish(stream, 1)
    assert [reader.take() for reader in readers] == [(0, [])] * 3
