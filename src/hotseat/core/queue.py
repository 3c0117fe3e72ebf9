"""Who waits for one model, and who is next: fair by key, by priority, and by age, so that none starves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

AGEING_S = 10.0
"""Waiting so long counts as much as one step of priority, or as one lease that the key holds less."""


@dataclass(slots=True)
class Waiting:
    """A request without a lease."""

    request: int
    key: str
    priority: int
    since: float


class FairQueue:
    """The requests that wait for one model.

    The next one is that of the key that holds the fewest leases, a step of priority or ``AGEING_S`` of
    waiting making up for one lease; within a key and priority, the oldest.
    """

    def __init__(self) -> None:
        self.waiting: dict[int, Waiting] = {}
        """All who wait, by request, oldest first; to be read only."""
        self._lanes: dict[tuple[str, int], dict[int, Waiting]] = {}

    def __len__(self) -> int:
        return len(self.waiting)

    def __contains__(self, request: int) -> bool:
        return request in self.waiting

    def push(self, waiting: Waiting) -> None:
        """Join at the end."""
        self.waiting[waiting.request] = waiting
        self._lanes.setdefault((waiting.key, waiting.priority), {})[waiting.request] = waiting

    def remove(self, request: int) -> None:
        """Leave, from wherever one stood."""
        waiting = self.waiting.pop(request)
        lane = (waiting.key, waiting.priority)
        del self._lanes[lane][request]
        if not self._lanes[lane]:
            del self._lanes[lane]

    def pop(self, held: Mapping[str, int], now: float) -> Waiting:
        """The next one; ``held`` says how many leases each key holds. Raises ``IndexError`` when empty."""
        if not self.waiting:
            raise IndexError("nobody waits")
        if len(self._lanes) == 1:
            first = next(iter(self.waiting.values()))
        else:
            heads = (next(iter(lane.values())) for lane in self._lanes.values())
            first = min(
                heads,
                key=lambda w: (held.get(w.key, 0) - w.priority - (now - w.since) / AGEING_S, w.request),
            )
        self.remove(first.request)
        return first

    def clear(self) -> list[Waiting]:
        """Empty it; returns all who waited, oldest first."""
        everybody = list(self.waiting.values())
        self.waiting.clear()
        self._lanes.clear()
        return everybody

    def oldest(self) -> Waiting:
        """Who has waited longest. Raises ``StopIteration`` when empty."""
        return next(iter(self.waiting.values()))

    def top_priority(self) -> int:
        """The highest priority among those who wait; 0 when nobody does."""
        return max((priority for _, priority in self._lanes), default=0)

    def requests(self) -> list[int]:
        """All who wait, oldest first."""
        return list(self.waiting)
