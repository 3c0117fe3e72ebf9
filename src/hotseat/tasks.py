"""Asyncio tasks with an owner and a name. Tasks are created here and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Tasks:
    """The tasks of one owner, which learns of every failure and cancels them all on ``close``."""

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        """``on_failure(name, error)`` is called for each task that ends in an unexpected exception."""
        self._tasks: dict[asyncio.Task[Any], None] = {}
        """A dict as an ordered set, so that tasks are always cancelled in the order of their creation."""
        self._on_failure = on_failure

    def __len__(self) -> int:
        return len(self._tasks)

    def names(self) -> list[str]:
        """Return the names of the running tasks."""
        return sorted(task.get_name() for task in self._tasks)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` in a new task."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task.get_name(), error)

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
