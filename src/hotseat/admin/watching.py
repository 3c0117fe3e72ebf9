"""``/metrics``, ``/metrics/models``, ``/events`` and ``/logs/{model}``."""

from __future__ import annotations

from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from hotseat.admin import schema, upstream_metrics
from hotseat.admin.control import Control
from hotseat.admin.requests import read_query
from hotseat.admin.responses import json_response
from hotseat.admin.stats import StatsView
from hotseat.admin.streams import Chunks, OpenStreams
from hotseat.telemetry.event_stream import MOST_READERS, EventStream
from hotseat.telemetry.metrics import CONTENT_TYPE, expose
from hotseat.telemetry.recorder import Recorder

KEEP_ALIVE_S = 15.0
"""Seconds between the comments that keep an idle stream of events open through proxies."""


class WatchEndpoints:
    """The endpoints that monitoring reads and people watch."""

    def __init__(
        self, control: Control, recorder: Recorder, stats: StatsView, find: Callable[[str], str]
    ) -> None:
        """``find`` returns the model of a route's or model's name; raises ``HTTPException`` (404)."""
        self._control, self._recorder, self._stats, self._find = control, recorder, stats, find
        self.streams = OpenStreams()

    async def metrics(self, request: Request) -> Response:
        """``/metrics``: hotseat's own metrics."""
        return Response(expose(self._recorder.metrics, self._stats.snapshot()), media_type=CONTENT_TYPE)

    async def model_metrics(self, request: Request) -> Response:
        """``/metrics/models``: the metrics of the ready models' servers. Starts none."""
        models = self._stats.settings.models
        servers = {name: (model, self._control.upstream(name)) for name, model in models.items()}
        return Response(await upstream_metrics.gather(servers), media_type=CONTENT_TYPE)

    async def events(self, request: Request) -> Response:
        """``/events``: server-sent events, from ``Last-Event-ID`` on."""
        after = request.headers.get("last-event-id") or read_query(request, schema.EventsQuery).after
        feed = self._recorder.events
        if len(feed) >= MOST_READERS:
            message = f"{MOST_READERS} clients read the events already; try again later"
            raise HTTPException(503, message, {"Retry-After": "30"})
        return self.streams.response(event_chunks(feed, after), "text/event-stream")

    async def logs(self, request: Request) -> Response:
        """``/logs/{model}``: the latest lines, and with ``follow=1`` those to come."""
        model = self._find(request.path_params["model"])
        query = read_query(request, schema.LogsQuery)
        if query.follow:
            lines = log_chunks(self._control, model, query.lines)
            return self.streams.response(lines, "text/plain; charset=utf-8")
        return json_response(
            schema.LogsResponse(model=model, lines=await self._control.tail(model, query.lines))
        )


async def event_chunks(feed: EventStream, after: str | None) -> Chunks:
    """Server-sent events: those after the id ``after`` first, then new ones without end."""
    with feed.reader(after) as reader:
        yield b"retry: 2000\n\n"
        while True:
            if not await reader.wait(KEEP_ALIVE_S):
                yield b": still here\n\n"
                continue
            dropped, events = reader.take()
            chunks = [b'event: dropped\ndata: {"count":%d}\n\n' % dropped] if dropped else []
            chunks += [
                f"id: {feed.event_id(event)}\nevent: {event.kind}\ndata: ".encode() + event.data + b"\n\n"
                for event in events
            ]
            yield b"".join(chunks)


async def log_chunks(control: Control, model: str, count: int) -> Chunks:
    """The last ``count`` log lines, then new ones, each ended by a line feed."""
    yield b""  # sends the header at once, even while there is no line
    async for line in control.follow(model, count):
        yield f"{line}\n".encode(errors="replace")
