"""What counts as which signal, and a start that hangs."""

from __future__ import annotations

import asyncio
import signal
from typing import cast

from hotseat import app
from hotseat.signals import StopSignals


class HangingApp:
    """A hotseat whose start waits for ever."""

    def __init__(self) -> None:
        self.opening = asyncio.Event()

    async def open(self) -> None:
        self.opening.set()
        await asyncio.Event().wait()


def test_one_signal_stops_and_two_stop_at_once() -> None:
    async def story() -> None:
        stops = StopSignals()
        stops.received(signal.SIGTERM)
        assert stops.stop.is_set()
        assert not stops.at_once.is_set()
        stops.received(signal.SIGINT)
        assert stops.at_once.is_set()

    asyncio.run(story())


def test_the_second_signal_breaks_off_a_start_that_hangs() -> None:
    async def story() -> None:
        stops, hanging = StopSignals(), HangingApp()
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            opening = group.create_task(app._open(cast(app.App, hanging), stops))
            await hanging.opening.wait()
            stops.received(signal.SIGTERM)
            await asyncio.sleep(0)
            assert not opening.done()  # once is no reason to break off: all that runs is to be known
            stops.received(signal.SIGTERM)

    asyncio.run(story())
