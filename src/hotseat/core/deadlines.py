"""The time at which each model must be looked at again, at the latest."""

from __future__ import annotations

import heapq

NEVER = float("inf")


class Deadlines:
    """One deadline for each name. Setting a later one than is set already changes nothing.

    Whoever handles a deadline checks what is really due and sets the next one, so a deadline may come
    early but never late. Moving a deadline away (an idle model that is used again) therefore costs nothing.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._at: dict[str, float] = {}

    @property
    def next_at(self) -> float:
        """Time of the earliest deadline; infinity for none."""
        return self._heap[0][0] if self._heap else NEVER

    def at(self, name: str) -> float:
        """Time of the deadline of ``name``; infinity for none."""
        return self._at.get(name, NEVER)

    def set(self, name: str, at: float) -> None:
        """Make ``name`` due at this time, or before."""
        if at < self._at.get(name, NEVER):
            self._at[name] = at
            heapq.heappush(self._heap, (at, name))

    def due(self, now: float) -> list[str]:
        """Return all names that are due, and clear their deadlines."""
        names = []
        while self._heap and self._heap[0][0] <= now:
            at, name = heapq.heappop(self._heap)
            if self._at.get(name) == at:
                del self._at[name]
                names.append(name)
        return names

    def forget(self, name: str) -> None:
        """Clear the deadline of ``name``."""
        self._at.pop(name, None)
