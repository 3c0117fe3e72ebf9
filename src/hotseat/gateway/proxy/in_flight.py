"""The requests that are being answered now, read from the open connections: the data path keeps no list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic

import msgspec

from hotseat.gateway.http.connection import Connection
from hotseat.gateway.proxy.request import ProxiedRequest


class InFlightRequest(msgspec.Struct, kw_only=True):
    """One request to a model that has no complete response yet. Times in seconds."""

    id: str
    key: str
    method: str
    path: str
    route: str
    model: str
    phase: str
    """``queued``, ``connecting``, ``awaiting head``, ``streaming``, ``relaying``, …"""
    stream: bool
    age_s: float
    waited_s: float
    """For its lease, so far."""
    first_byte_s: float | None
    bytes_in: int
    bytes_out: int


def in_flight(connections: Iterable[Connection]) -> list[InFlightRequest]:
    """The requests to models that are being answered, oldest first."""
    now = monotonic()
    found = [one for _, request in _requests(connections) if (one := describe(request, now)) is not None]
    return sorted(found, key=lambda one: -one.age_s)


def cancel(connections: Iterable[Connection], request_id: str) -> bool:
    """Cut off one request's client, which ends the request; ``False`` if it has ended already."""
    for connection, request in _requests(connections):
        if request.record.id == request_id and request.forward is not None:
            connection.transport.abort()
            return True
    return False


def describe(request: ProxiedRequest, now: float) -> InFlightRequest | None:
    """The request at ``now`` (in ``time.monotonic``); ``None`` before it is on its way to a model."""
    record, forward = request.record, request.forward
    if forward is None:
        return None
    began_at, granted_at, first_byte_at = request.began_at, forward.granted_at, forward.first_byte_at
    return InFlightRequest(
        id=record.id,
        key=record.key,
        method=request.method,
        path=record.path,
        route=record.route,
        model=record.model,
        phase=forward.phase.value,
        stream=record.stream,
        age_s=round(now - began_at, 3),
        waited_s=round((granted_at or now) - began_at, 3),
        first_byte_s=None if first_byte_at is None else round(first_byte_at - began_at, 3),
        bytes_in=record.bytes_in,
        bytes_out=request.bytes_out,
    )


def _requests(connections: Iterable[Connection]) -> Iterator[tuple[Connection, ProxiedRequest]]:
    for connection in connections:
        cycle = connection.active
        request = None if cycle is None else getattr(cycle.on_close, "__self__", None)
        if isinstance(request, ProxiedRequest):
            yield connection, request
