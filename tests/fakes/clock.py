"""Virtual time for asyncio: when nothing is ready, the clock jumps to the next timer.

A day of sleeps runs in milliseconds and always in the same order. There is no real I/O on this loop:
a coroutine that waits for a thread, a socket or a process would see the clock race past it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Deadlock(AssertionError):
    """Everything waits and no timer is set: nothing would ever happen again."""


class _Instant(selectors.SelectSelector):
    """A selector that never waits: it tells the loop's clock to jump instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise Deadlock("every task waits and no timer is set")
        self.now += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose ``time()`` is virtual and starts at 0."""

    def __init__(self) -> None:
        self._instant = _Instant()
        self._timers: list[tuple[asyncio.TimerHandle, object]] = []
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.now

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        now = self.time()
        self._timers = [(h, o) for h, o in self._timers if not h.cancelled() and h.when() >= now]
        self._timers.append((handle, getattr(callback, "__self__", None)))
        return handle

    def cancel_timers_of(self, owner: object) -> None:
        """Cancel the timers that would call methods of ``owner``, as its death would."""
        for handle, whose in self._timers:
            if whose is owner:
                handle.cancel()


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on virtual time and return what it returns.

    Raises ``Deadlock`` where it would wait for ever, and ``AssertionError`` for a task or callback
    whose exception nobody took.
    """
    unhandled: list[str] = []

    def note(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        unhandled.append(f"{context.get('message')}: {context.get('exception')!r}")

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.get_loop().set_exception_handler(note)
        result = runner.run(main)
    assert not unhandled, unhandled
    return result
