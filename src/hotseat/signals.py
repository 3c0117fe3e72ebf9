"""Handlers of SIGTERM, SIGINT and SIGHUP."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

LAST_S = 1.0
"""How long hotseat lives on after the third SIGTERM or SIGINT, in seconds."""


class StopSignals:
    """A count of orders to stop: once to finish what is under way, twice to stop at once.

    The third time it ends within a second, whatever still hangs.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.at_once = asyncio.Event()

    def received(self, number: signal.Signals) -> None:
        """Count one more SIGTERM or SIGINT."""
        if self.at_once.is_set():
            asyncio.get_running_loop().call_later(LAST_S, _die_of, number)
        elif self.stop.is_set():
            self.at_once.set()
        self.stop.set()


def install_handlers(signals: StopSignals, reload: Callable[[], None]) -> None:
    """Handle the process's signals on the running event loop.

    SIGTERM and SIGINT are counted in ``signals``. SIGHUP calls ``reload``, or counts as one of them if the
    controlling terminal was closed.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.received, number)
    loop.add_signal_handler(signal.SIGHUP, _hang_up, signals, reload, _has_terminal())


def _die_of(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _hang_up(signals: StopSignals, reload: Callable[[], None], had_terminal: bool) -> None:
    if had_terminal and not _has_terminal():
        signals.stop.set()
    else:
        reload()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
