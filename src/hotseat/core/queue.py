"""The queue of one model: fair by key, by priority and by age, so that no request starves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

AGEING_S = 10.0
"""Seconds of waiting that make up for one step of priority, or for one lease that another key holds less."""


@dataclass(slots=True)
class QueuedRequest:
    """A request without a lease."""

    request: int
    key: str
    priority: int
    since: float
    group: str | None = None
    """Clients whose patience is learned together; ``None``: it is not learned."""
    may_evict: bool = True
    """Whether another model may be evicted for it."""
    forbidden: bool = False
    """It may not evict since its route says so, not since requests like it give up."""


class FairQueue:
    """The requests that wait for one model.

    Next is the request of the key that holds the fewest leases; a step of priority or ``AGEING_S`` of
    waiting makes up for one lease. Within a key and priority the oldest request is next.
    """

    def __init__(self) -> None:
        self.waiting: dict[int, QueuedRequest] = {}
        """All queued requests by number, oldest first. Read only."""
        self._lanes: dict[tuple[str, int], dict[int, QueuedRequest]] = {}
        """The same requests by key and priority."""
        self.evicting = 0
        """Number of queued requests that may evict. Read only."""

    def __len__(self) -> int:
        return len(self.waiting)

    def __contains__(self, request: int) -> bool:
        return request in self.waiting

    def push(self, queued: QueuedRequest) -> None:
        """Append a request."""
        self.waiting[queued.request] = queued
        self.evicting += queued.may_evict
        self._lanes.setdefault((queued.key, queued.priority), {})[queued.request] = queued

    def remove(self, request: int) -> QueuedRequest:
        """Remove and return a request from anywhere in the queue. Raises ``KeyError``."""
        queued = self.waiting.pop(request)
        self.evicting -= queued.may_evict
        lane = (queued.key, queued.priority)
        del self._lanes[lane][request]
        if not self._lanes[lane]:
            del self._lanes[lane]
        return queued

    def pop(self, held: Mapping[str, int], now: float) -> QueuedRequest:
        """Remove and return the next request; ``held``: leases by key. Raises ``IndexError`` when empty."""
        if not self.waiting:
            raise IndexError("the queue is empty")
        if len(self._lanes) == 1:
            first = next(iter(self.waiting.values()))
        else:
            heads = (next(iter(lane.values())) for lane in self._lanes.values())
            first = min(
                heads,
                key=lambda q: (held.get(q.key, 0) - q.priority - (now - q.since) / AGEING_S, q.request),
            )
        self.remove(first.request)
        return first

    def clear(self) -> list[QueuedRequest]:
        """Empty the queue; returns all requests, oldest first."""
        everything = list(self.waiting.values())
        self.waiting.clear()
        self._lanes.clear()
        self.evicting = 0
        return everything

    def oldest(self) -> QueuedRequest:
        """The request that has waited longest. Raises ``StopIteration`` when empty."""
        return next(iter(self.waiting.values()))

    def oldest_evicting(self) -> QueuedRequest | None:
        """The request that may evict and has waited longest; ``None``: none may."""
        if not self.evicting:
            return None
        return next(queued for queued in self.waiting.values() if queued.may_evict)

    def top_priority(self) -> int:
        """The highest priority in the queue; 0 when empty."""
        return max((priority for _, priority in self._lanes), default=0)

    def requests(self) -> list[int]:
        """Numbers of all queued requests, oldest first."""
        return list(self.waiting)
