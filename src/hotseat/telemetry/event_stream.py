"""The stream of lifecycle events behind ``/events``.

Events are numbered, and the latest are kept for readers that reconnect. Each reader has its own bounded
queue: one that reads too slowly loses the oldest events and learns how many, without slowing down the
publisher or other readers.
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
"""How many events are kept for readers that reconnect."""
HELD = 256
"""How many events wait for one reader."""
MOST_READERS = 64
"""How many readers there may be; the endpoint refuses further ones."""

_encode = msgspec.json.encode


class StreamEvent(msgspec.Struct, frozen=True):
    """One event, encoded for sending."""

    number: int
    kind: str
    """``move``, ``phase``, ``swap`` or ``failure``."""
    data: bytes
    """A JSON object."""


class EventStream:
    """Takes events and hands them to every reader."""

    def __init__(self, boot: str | None = None) -> None:
        """``boot`` is part of the events' ids and differs for each start of hotseat (default: random)."""
        self._boot = boot or secrets.token_hex(4)
        self._ring: deque[StreamEvent] = deque(maxlen=KEPT)
        self._readers: set[EventReader] = set()
        self._last = 0

    def __len__(self) -> int:
        """Return the number of readers."""
        return len(self._readers)

    def publish(self, kind: str, data: Mapping[str, Any]) -> None:
        """Queue an event for every reader; returns at once. ``data`` becomes a JSON object."""
        self._last += 1
        event = StreamEvent(self._last, kind, _encode(data))
        self._ring.append(event)
        for reader in self._readers:
            reader.offer(event)

    def reader(self, after: str | None = None) -> EventReader:
        """Add a reader. ``after`` is the id of the last event that it has seen.

        It gets the later events that are still kept; all kept ones if the id is of an earlier start.
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

    def event_id(self, event: StreamEvent) -> str:
        """Return the event's id, such as ``1f2e3d4c-17``."""
        return f"{self._boot}-{event.number}"

    def remove(self, reader: EventReader) -> None:
        """Remove a reader that has disconnected."""
        self._readers.discard(reader)


class EventReader:
    """One reader's queue. Leaving the ``with`` block removes it from the stream."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._queue: deque[StreamEvent] = deque(maxlen=HELD)
        self._available = asyncio.Event()
        self.dropped = 0
        """How many events were lost since the last ``take``."""

    def offer(self, event: StreamEvent) -> None:
        """Queue an event; drops the oldest one if the queue is full."""
        if len(self._queue) == HELD:
            self.dropped += 1
        self._queue.append(event)
        self._available.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for an event; ``False`` if the time ran out first."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._available.wait()
        except TimeoutError:
            return False
        return True

    def take(self) -> tuple[int, list[StreamEvent]]:
        """Empty the queue; return how many events were lost before it, and its events."""
        dropped, self.dropped = self.dropped, 0
        events = list(self._queue)
        self._queue.clear()
        self._available.clear()
        return dropped, events

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.remove(self)
