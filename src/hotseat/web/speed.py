"""The present speed of each model in tokens per second, from the bytes that it sends.

A server tells how many tokens an answer had when it has ended. Until then the bytes of a stream are known;
how many bytes a token takes is learned from the streams that have ended while somebody looked.
"""

from __future__ import annotations

from collections.abc import Callable

from hotseat.telemetry.finished_request import FinishedRequest
from hotseat.web.control import RequestWatch

WINDOW_S = 2.0
"""A speed is the mean over at least so long."""
LEARN = 0.3
"""Weight of the newest stream in the moving average."""


class Speedometer:
    """Reads the speeds of all models."""

    def __init__(self, requests: RequestWatch, clock: Callable[[], float]) -> None:
        """``clock()`` is monotonic, in seconds."""
        self._requests, self._clock = requests, clock
        self._bytes_per_token: dict[str, float] = {}
        self._ended: dict[str, int] = {}
        """Bytes of streams that have ended since the window began, by model."""
        self._window_at = float("-inf")
        self._window_bytes: dict[str, int] = {}
        self._speeds: dict[str, float] = {}

    def finished(self, record: FinishedRequest) -> None:
        """Learn from a request that has ended."""
        if not record.stream or record.status != 200:
            return
        self._ended[record.model] = self._ended.get(record.model, 0) + record.bytes_out
        if record.tokens_out and record.tokens_out >= 8:
            ratio = record.bytes_out / record.tokens_out
            old = self._bytes_per_token.get(record.model, ratio)
            self._bytes_per_token[record.model] = (1 - LEARN) * old + LEARN * ratio

    def read(self) -> dict[str, float]:
        """Tokens per second by model, of models that stream now and of which a token's size is known."""
        now = self._clock()
        if now - self._window_at < WINDOW_S:
            return self._speeds
        totals = dict(self._ended)
        for one in self._requests.in_flight():
            if one.stream:
                totals[one.model] = totals.get(one.model, 0) + one.bytes_out
        elapsed = now - self._window_at
        self._speeds = {
            model: round((total - self._window_bytes[model]) / self._bytes_per_token[model] / elapsed, 1)
            for model, total in totals.items()
            if model in self._bytes_per_token and total > self._window_bytes.get(model, total)
        }
        self._window_at, self._window_bytes = now, totals
        return self._speeds
