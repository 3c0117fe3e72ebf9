"""Handlers of SIGTERM, SIGINT and SIGHUP."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable


def install_handlers(stop: asyncio.Event, reload: Callable[[], None]) -> None:
    """Handle the process's signals on the running event loop.

    SIGTERM and SIGINT set ``stop``; a second one kills the process at once, and the next start adopts or
    sweeps what it left. SIGHUP calls ``reload``, or sets ``stop`` if the controlling terminal was closed.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _terminate, stop, number)
    loop.add_signal_handler(signal.SIGHUP, _hang_up, stop, reload, _has_terminal())


def _terminate(stop: asyncio.Event, number: signal.Signals) -> None:
    if stop.is_set():
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    stop.set()


def _hang_up(stop: asyncio.Event, reload: Callable[[], None], had_terminal: bool) -> None:
    if had_terminal and not _has_terminal():
        stop.set()
    else:
        reload()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
