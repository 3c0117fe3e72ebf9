"""Tasks that have an owner and a name; the only place where one is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Tasks:
    """A set of tasks with one owner, who sees every unexpected end and ends them all at last."""

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        """``on_failure(name, error)`` is called for each task that ends in an unexpected exception."""
        self._tasks: dict[asyncio.Task[Any], None] = {}
        """In the order in which they were made, so that they always end in the same order."""
        self._on_failure = on_failure

    def __len__(self) -> int:
        return len(self._tasks)

    def names(self) -> list[str]:
        """The names of those that run."""
        return sorted(task.get_name() for task in self._tasks)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` as a task of this owner."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task.get_name(), error)

    async def close(self) -> None:
        """Cancel all and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
