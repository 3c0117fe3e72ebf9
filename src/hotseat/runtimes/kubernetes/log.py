"""Log of a run, kept on our side: the log of a pod that is gone cannot be read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

_LINES_KEPT = 5_000


class RunLog:
    """The lines of one run, with any number of readers."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._count = 0
        """Of all lines ever written; the oldest are dropped."""
        self._changed = asyncio.Event()
        self._ended = False

    def __len__(self) -> int:
        return self._count

    def add(self, line: str) -> None:
        """Append a line."""
        self._lines.append(line)
        self._count += 1
        self._wake()

    def end(self) -> None:
        """Let the readers come to their end."""
        self._ended = True
        self._wake()

    def tail(self, count: int) -> list[str]:
        """Return the last lines."""
        return list(self._lines)[-count:] if count > 0 else []

    async def follow(self, last: int | None = None) -> AsyncGenerator[str, None]:
        """Yield what has been written (of it, the ``last`` lines) and what comes, until the log ends.

        A reader that is too slow misses the lines that have been dropped meanwhile.
        """
        at = 0 if last is None else max(0, self._count - last)
        while True:
            first = self._count - len(self._lines)
            at = max(at, first)
            if at < self._count:
                line = self._lines[at - first]
                at += 1
                yield line
            elif self._ended:
                return
            else:
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
