"""Holds: an operator keeps a model warm for a while, whatever its schedule says."""

from __future__ import annotations

import asyncio

import pytest

from hotseat.supervisor.keep_warm import KeepWarm

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_hold_begins_at_once_and_ends_when_it_is_called_off() -> None:
    told: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    now = 1e9
    keep_warm = KeepWarm(lambda: now, lambda model, warm: told.put_nowait((model, warm)))
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(keep_warm.run())
        keep_warm.hold("chat", now + 3600)
        assert await told.get() == ("chat", True)
        assert keep_warm.held_until("chat") == now + 3600
        keep_warm.hold("chat", now)
        assert await told.get() == ("chat", False)
        assert keep_warm.held_until("chat") is None
        running.cancel()


async def test_a_hold_ends_with_its_time() -> None:
    told: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    clock = [1e9]
    keep_warm = KeepWarm(lambda: clock[0], lambda model, warm: told.put_nowait((model, warm)))
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(keep_warm.run())
        keep_warm.hold("chat", clock[0] + 60)
        assert await told.get() == ("chat", True)
        clock[0] += 61
        keep_warm.hold("other", clock[0] - 1)  # looks again
        assert await told.get() == ("chat", False)
        running.cancel()
