"""The feed of events: what readers get, what slow ones lose, and what they cost."""

from __future__ import annotations

import asyncio
import json

from fakes.clock import run_virtual
from hotseat.telemetry.event_stream import HELD, KEPT, EventReader, EventStream, StreamEvent


def numbers(events: list[StreamEvent]) -> list[int]:
    return [json.loads(event.data)["n"] for event in events]


def publish(feed: EventStream, count: int, first: int = 0) -> None:
    for n in range(first, first + count):
        feed.publish("move", {"n": n})


def test_a_reader_gets_what_comes_after_it() -> None:
    feed = EventStream()
    publish(feed, 3)
    with feed.reader() as reader:
        publish(feed, 2, first=3)
        dropped, events = reader.take()
        assert (dropped, numbers(events)) == (0, [3, 4])
        assert reader.take() == (0, [])


def test_who_comes_back_gets_what_it_missed() -> None:
    feed = EventStream("b00t")
    with feed.reader() as reader:
        publish(feed, 4)
        seen = feed.ident(reader.take()[1][1])
    assert seen == "b00t-2"
    with feed.reader(seen) as again:
        assert numbers(again.take()[1]) == [2, 3]


def test_after_a_restart_it_gets_all_that_is_kept() -> None:
    feed = EventStream("new")
    publish(feed, 3)
    for after in ("old-2", "old-99", "nonsense", "new-x", ""):
        with feed.reader(after) as reader:
            assert (reader.take()[0], len(feed)) == (0, 1)
        with feed.reader(after) as reader:
            assert numbers(reader.take()[1]) == [0, 1, 2], after


def test_what_the_ring_has_lost_is_told() -> None:
    feed = EventStream("b")
    publish(feed, KEPT + 10)
    with feed.reader("b-4") as reader:
        dropped, events = reader.take()
        assert dropped + len(events) == KEPT + 10 - 4
        assert numbers(events)[-1] == KEPT + 9


def test_a_slow_reader_loses_the_oldest_and_learns_how_many() -> None:
    feed = EventStream()
    with feed.reader() as slow, feed.reader() as quick:
        for n in range(HELD + 7):
            publish(feed, 1, first=n)
            quick.take()
        dropped, events = slow.take()
        assert (dropped, numbers(events)) == (7, list(range(7, HELD + 7)))
        publish(feed, 1)
        assert slow.take()[0] == 0  # told once
    assert len(feed) == 0


def test_waiting_ends_with_news_or_with_the_time() -> None:
    async def story() -> None:
        feed = EventStream()
        with feed.reader() as reader:
            assert not await reader.wait(15)
            asyncio.get_running_loop().call_later(5, publish, feed, 1)
            assert await reader.wait(15)
            assert numbers(reader.take()[1]) == [0]
            assert not await reader.wait(15)

    run_virtual(story())


def test_a_reader_that_has_gone_is_forgotten() -> None:
    feed = EventStream()
    readers: list[EventReader] = []
    for _ in range(3):
        with feed.reader() as reader:
            readers.append(reader)
    publish(feed, 1)
    assert [reader.take() for reader in readers] == [(0, [])] * 3
