"""When each model must be looked at again, at the latest."""

from __future__ import annotations

import heapq

NEVER = float("inf")


class Deadlines:
    """One alarm for each name; setting a later one than is set already changes nothing.

    Whoever is rung looks at what is really due and sets the next alarm, so an alarm may be early but
    never late. That makes moving a deadline away (an idle model that is used again) free of cost.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._at: dict[str, float] = {}

    @property
    def next_at(self) -> float:
        """When the next one rings; infinity for never."""
        return self._heap[0][0] if self._heap else NEVER

    def at(self, name: str) -> float:
        """When the alarm of ``name`` rings; infinity for never."""
        return self._at.get(name, NEVER)

    def set(self, name: str, at: float) -> None:
        """Ring ``name`` at this time, or before."""
        if at < self._at.get(name, NEVER):
            self._at[name] = at
            heapq.heappush(self._heap, (at, name))

    def due(self, now: float) -> list[str]:
        """All whose alarm has rung; their alarms are off now."""
        names = []
        while self._heap and self._heap[0][0] <= now:
            at, name = heapq.heappop(self._heap)
            if self._at.get(name) == at:
                del self._at[name]
                names.append(name)
        return names

    def forget(self, name: str) -> None:
        """Set no alarm for ``name`` any more."""
        self._at.pop(name, None)
