"""A whole gateway on a real socket, in front of seats that do as the test says."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fakes.leases import FakeLeaseProvider
from fakes.wire import PATIENCE_S, Message, Wire
from hotseat.core.access_spec import AuthSpec
from hotseat.core.spec import ModelSpec, RouteSpec, SchedulerSpec, SchedulingSpec, ServeSpec, Settings
from hotseat.gateway.gateway import Gateway
from hotseat.gateway.http.connection_limits import ConnectionLimits
from hotseat.gateway.http.server import Server, serve
from hotseat.gateway.proxy.access_log import RequestRecord
from hotseat.runtimes.process.spec import ProcessSpec


def model(name: str, **more: Any) -> ModelSpec:
    return ModelSpec(
        name=name,
        scheduling=SchedulingSpec(name=name, footprint={"0": 500_000}),
        launch=ProcessSpec(command=("true",)),
        **more,
    )


def settings(
    *models: ModelSpec,
    routes: tuple[RouteSpec, ...] = (),
    auth: AuthSpec | None = None,
    **serve_terms: Any,
) -> Settings:
    """Each model has a route of its own name, and those given beside."""
    known = {spec.name: spec for spec in models or (model("chat"), model("coder"))}
    own = tuple(RouteSpec(name=name, model=name, path=f"/{name}") for name in known)
    written = {route.name for route in routes}
    return Settings(
        serve=ServeSpec(state_dir="unused", **serve_terms),
        scheduler=SchedulerSpec(
            budget={"0": 1_000_000}, models={name: spec.scheduling for name, spec in known.items()}
        ),
        models=known,
        routes=(*(route for route in own if route.name not in written), *routes),
        auth=auth or AuthSpec(),
    )


async def control_app(scope: Any, receive: Any, send: Any) -> None:
    """Says which path came to it, and with what body (at ``/admin/at-once`` without waiting for one)."""
    body = b""
    while scope["path"] != "/admin/at-once":
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    told = f"{scope['method']} {scope['path']}?{scope['query_string'].decode()} {body.decode()}".encode()
    headers = [
        (b"content-type", b"text/plain"),
        (b"x-role", scope["state"]["admin_role"].name.encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


class Front:
    def __init__(
        self, seats: FakeLeaseProvider, gateway: Gateway, server: Server, records: list[RequestRecord]
    ) -> None:
        self.seats = seats
        self.gateway = gateway
        self.records = records
        """Of every request, in the order of their ends."""
        self.server = server
        self.port = server.addresses[0][1]

    @property
    def failed(self) -> list[str]:
        """How requests failed, of those that did: ``upstream``, ``gone``, ``truncated``."""
        return [record.failed for record in self.records if record.failed]

    async def open(self) -> Wire:
        return await Wire.open(self.port)

    async def ask(self, path: str, body: bytes | None = None, **more: Any) -> Message:
        """One request on a connection of its own."""
        async with await self.open() as wire:
            await wire.ask(path, body, **more)
            return await wire.answer(no_body=more.get("method") == "HEAD")

    async def raw(self, data: bytes) -> bytes:
        """Send these bytes and read until the gateway closes."""
        async with await self.open() as wire:
            await wire.send(data)
            return await wire.at_end()

    async def deserted(self) -> None:
        """Wait until no client is connected."""
        async with asyncio.timeout(PATIENCE_S):
            await self.server.emptied()

    async def ticket_closed(self, at: int = 0) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.seats.tickets[at].closed.wait()


@asynccontextmanager
async def front(
    config: Settings | None = None,
    *,
    ready: dict[str, int] | None = None,
    local_only: bool = False,
    limits: ConnectionLimits | None = None,
    comment_every_s: float | None = None,
    tls: ssl.SSLContext | None = None,
    **gateway_terms: Any,
) -> AsyncIterator[Front]:
    """A gateway that listens; ``ready``: models that serve, with their ports."""
    seats = FakeLeaseProvider()
    for name, port in (ready or {}).items():
        seats.ready(name, port)
    records: list[RequestRecord] = []
    gateway = Gateway(
        config or settings(),
        seats,
        control_app,
        local_only=local_only,
        on_record=records.append,
        **gateway_terms,
    )
    if comment_every_s is not None:
        policy = dataclasses.replace(gateway.snapshot.wait_policy, comment_every_s=comment_every_s)
        gateway.snapshot = dataclasses.replace(gateway.snapshot, wait_policy=policy)
    server = await serve(gateway, limits=limits, tls=tls)
    try:
        yield Front(seats, gateway, server, records)
    finally:
        await server.stop(0)
        gateway.close()
