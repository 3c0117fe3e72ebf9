"""Patience of clients: whether a request will still be there when its model is ready.

Some clients give up long before a start is over: an editor's completions are gone after some seconds, and
come again with the next keystroke. A start for one of them stops another model for nobody. What each group
of clients did is remembered for each model; a request may evict in proportion to the odds that it stays.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

FORGET_S = 1800.0
"""Seconds after which what a client did counts no longer: its settings may have changed."""
KEPT = 8
"""Latest waits that are kept of each group."""
MOST_GROUPS = 256
"""Groups that are kept for each model; the one that was seen first is forgotten first."""
STAYS = 0.5
"""The odds of a client of whom nothing is known count as this many waits to the end, and nothing else."""
LEAST_ODDS = 0.25
"""Lower odds are none: the request evicts nobody. Two waits that were given up, and none to the end."""
LONG = 1.5
"""A wait that was given up after this many starts tells of a long queue, not of an impatient client."""


@dataclass(frozen=True, slots=True)
class _Wait:
    at: float
    waited_s: float
    stayed: bool


@dataclass(slots=True)
class _Group:
    waits: deque[_Wait] = field(default_factory=lambda: deque(maxlen=KEPT))
    credit: float = 0.0
    """Odds of the requests since the last one that might evict."""


class Patience:
    """The patience of all clients of one model, by group."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    def learn(self, group: str, waited_s: float, *, stayed: bool, now: float) -> None:
        """Remember one wait for the model: to the end (``stayed``), or given up."""
        found = self._groups.get(group)
        if found is None:
            if len(self._groups) >= MOST_GROUPS:
                del self._groups[next(iter(self._groups))]
            found = self._groups[group] = _Group()
        found.waits.append(_Wait(now, waited_s, stayed))

    def odds(self, group: str, wait_s: float | None, now: float) -> float:
        """The odds, 0…1, that a request of this group waits so long; ``None``: nobody knows how long.

        Waits to the end tell only if they were about as long. 1 for a group of which nothing is known.
        """
        found = self._groups.get(group)
        if found is None:
            return 1.0
        stayed = gone = 0
        for wait in found.waits:
            if now - wait.at > FORGET_S:
                continue
            if wait.stayed:
                stayed += wait_s is None or 2 * wait.waited_s >= wait_s
            else:
                gone += wait_s is None or wait.waited_s < LONG * wait_s
        return (stayed + STAYS) / (stayed + gone + STAYS)

    def may_evict(self, group: str, wait_s: float | None, now: float) -> bool:
        """Whether one more request of this group may evict: always with odds of 1, every third with ⅓."""
        odds = self.odds(group, wait_s, now)
        if odds >= 1.0:
            return True
        if odds < LEAST_ODDS:
            return False
        found = self._groups[group]
        found.credit += odds
        if found.credit < 1.0:
            return False
        found.credit -= 1.0
        return True
