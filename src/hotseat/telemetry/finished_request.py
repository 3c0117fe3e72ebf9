"""The record of a finished request, as telemetry reads it."""

from __future__ import annotations

from typing import Protocol


class FinishedRequest(Protocol):
    """The fields that metrics and traces read (``gateway.proxy.access_log.RequestRecord`` has them)."""

    id: str
    key: str
    method: str
    path: str
    route: str
    model: str
    status: int
    code: str
    stream: bool
    bytes_in: int
    bytes_out: int
    tokens_in: int | None
    tokens_out: int | None
    waited_s: float
    first_byte_s: float | None
    duration_s: float
    failed: str
    trace: str
    parent: str
