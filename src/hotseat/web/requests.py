"""The requests page's data: those that are answered now, and the latest that have ended."""

from __future__ import annotations

from collections import deque
from typing import Any

from hotseat.telemetry.finished_request import FinishedRequest
from hotseat.web.control import InFlight, PageServices
from hotseat.web.speed import Speedometer

KEPT = 500
"""How many finished requests are kept of the time in which somebody looked."""


class RequestsPage:
    """Keeps the requests that have ended while the page is open somewhere."""

    def __init__(self, services: PageServices, speed: Speedometer) -> None:
        self._services, self._speed = services, speed
        self._finished: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._viewers = 0

    def viewer_came(self) -> None:
        """Begin to watch with the first viewer."""
        self._viewers += 1
        if self._viewers == 1:
            self._services.requests.watch(self._on_finished)

    def viewer_left(self) -> None:
        """Stop watching with the last viewer."""
        self._viewers -= 1
        if self._viewers == 0:
            self._services.requests.watch(None)

    def collect(self) -> dict[str, Any]:
        """Each request under ``request/ID``."""
        now = self._services.wall_clock()
        running = {f"request/{one.id}": _running(one, now) for one in self._services.requests.in_flight()}
        return {**{f"request/{one['id']}": one for one in self._finished}, **running}

    def between(self, since: float, until: float) -> list[dict[str, Any]]:
        """Those of the kept ones that began in this time (Unix seconds)."""
        return [one for one in self._finished if since <= one["at"] <= until]

    def _on_finished(self, record: FinishedRequest) -> None:
        if not record.model:
            return
        self._speed.finished(record)
        self._finished.append(_ended(record, self._services.wall_clock()))


def _running(one: InFlight, now: float) -> dict[str, Any]:
    return {
        "id": one.id,
        "at": round(now - one.age_s, 1),
        "key": one.key,
        "route": one.route,
        "model": one.model,
        "path": one.path,
        "stream": one.stream,
        "phase": one.phase,
        "waited_s": None if one.phase == "queued" else one.waited_s,
        "first_byte_s": one.first_byte_s,
        "bytes_in": one.bytes_in,
        "bytes_out": one.bytes_out,
    }


def _ended(record: FinishedRequest, now: float) -> dict[str, Any]:
    writing_s = record.duration_s - (record.first_byte_s or 0.0)
    speed = record.tokens_out / writing_s if record.tokens_out and record.stream and writing_s > 0 else None
    return {
        "id": record.id,
        "at": round(now - record.duration_s, 1),
        "key": record.key,
        "route": record.route,
        "model": record.model,
        "path": record.path,
        "stream": record.stream,
        "phase": "done",
        "status": record.status,
        "code": record.code,
        "failed": record.failed,
        "waited_s": record.waited_s,
        "first_byte_s": record.first_byte_s,
        "duration_s": record.duration_s,
        "tokens_in": record.tokens_in,
        "tokens_out": record.tokens_out,
        "tokens_s": None if speed is None else round(speed, 1),
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
    }
