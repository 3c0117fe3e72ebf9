"""What happens, as numbered events: the latest ones are kept for who comes back, and nobody is waited for.

Each reader has a bounded queue of its own. One that reads too slowly loses the oldest and is told how
many; it costs the others and the publisher nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

KEPT = 512
"""Events kept for readers that come back."""
HELD = 256
"""Events held for one reader."""
MOST_READERS = 64
"""More than these are to be sent away."""

_encode = msgspec.json.encode


class StreamEvent(msgspec.Struct, frozen=True):
    """One event, ready to be sent."""

    number: int
    kind: str
    """``move``, ``phase``, ``ready``, ``swap``, ``failure``."""
    data: bytes
    """A JSON object."""


class EventStream:
    """Where events are published, and read from."""

    def __init__(self, boot: str | None = None) -> None:
        """``boot`` tells this life of the program from others, in the events' ids."""
        self._boot = boot or secrets.token_hex(4)
        self._ring: deque[StreamEvent] = deque(maxlen=KEPT)
        self._readers: set[EventReader] = set()
        self._last = 0

    def __len__(self) -> int:
        """Readers now."""
        return len(self._readers)

    def publish(self, kind: str, data: Mapping[str, Any]) -> None:
        """Tell everybody; returns at once."""
        self._last += 1
        event = StreamEvent(self._last, kind, _encode(data))
        self._ring.append(event)
        for reader in self._readers:
            reader.offer(event)

    def reader(self, after: str | None = None) -> EventReader:
        """A new reader; ``after`` is the id of the last event that it has seen: it gets those since then
        that are still kept (all that are kept, if the id is of another life).
        """
        reader = EventReader(self)
        if after is not None:
            boot, _, number = after.partition("-")
            seen = int(number) if boot == self._boot and number.isascii() and number.isdigit() else 0
            missed = [event for event in self._ring if event.number > seen]
            if boot == self._boot and self._ring:
                reader.dropped = max(0, self._ring[0].number - seen - 1)
            for event in missed:
                reader.offer(event)
        self._readers.add(reader)
        return reader

    def ident(self, event: StreamEvent) -> str:
        """The event's id: ``1f2e3d4c-17``."""
        return f"{self._boot}-{event.number}"

    def forget(self, reader: EventReader) -> None:
        """The reader has gone."""
        self._readers.discard(reader)


class EventReader:
    """One who reads. Leaving the ``with`` block ends it."""

    def __init__(self, feed: EventStream) -> None:
        self._feed = feed
        self._queue: deque[StreamEvent] = deque(maxlen=HELD)
        self._news = asyncio.Event()
        self.dropped = 0
        """Events that were lost since ``take`` was called last."""

    def offer(self, event: StreamEvent) -> None:
        """Here is an event; the oldest goes if there is no room."""
        if len(self._queue) == HELD:
            self.dropped += 1
        self._queue.append(event)
        self._news.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for something to take; ``False`` when the time ran out first."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def take(self) -> tuple[int, list[StreamEvent]]:
        """How many were lost, and the events after those."""
        dropped, self.dropped = self.dropped, 0
        events = list(self._queue)
        self._queue.clear()
        self._news.clear()
        return dropped, events

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed.forget(self)
