"""What can be watched: metrics, events as they happen, and what a model's server writes."""

from __future__ import annotations

from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hotseat.admin import upstream_metrics
from hotseat.admin.answers import flag, number
from hotseat.admin.control import Control
from hotseat.admin.stats import StatsView
from hotseat.admin.streams import OpenStreams, Pieces
from hotseat.telemetry.event_stream import MOST_READERS, EventStream
from hotseat.telemetry.metrics import CONTENT_TYPE, expose
from hotseat.telemetry.recorder import Recorder

LINES_DEFAULT, LINES_MAX = 100, 10_000
STILL_HERE_S = 15.0
"""A stream of events in which nothing happens says so that often, for proxies."""


class WatchEndpoints:
    """``/metrics``, ``/events`` and ``/logs``."""

    def __init__(
        self, control: Control, chronicle: Recorder, stats: StatsView, find: Callable[[str], str]
    ) -> None:
        """``find`` is the model of a route's or model's name; raises ``HTTPException`` (404)."""
        self._control, self._chronicle, self._stats, self._find = control, chronicle, stats, find
        self.streams = OpenStreams()

    async def metrics(self, request: Request) -> Response:
        """All that is counted."""
        return Response(expose(self._chronicle.metrics, self._stats.snapshot()), media_type=CONTENT_TYPE)

    async def model_metrics(self, request: Request) -> Response:
        """The models' own metrics; nothing is started for it."""
        models = self._stats.settings.models
        asked = {name: (model, self._control.upstream(name)) for name, model in models.items()}
        return Response(await upstream_metrics.gather(asked), media_type=CONTENT_TYPE)

    async def events(self, request: Request) -> Response:
        """What happens, as it happens."""
        after = request.headers.get("last-event-id") or request.query_params.get("after")
        feed = self._chronicle.events
        if len(feed) >= MOST_READERS:
            raise HTTPException(503, "too many read the events already", {"Retry-After": "30"})
        return self.streams.response(_events(feed, after), "text/event-stream")

    async def logs(self, request: Request) -> Response:
        """The last lines, and with ``follow=1`` those to come."""
        model = self._find(request.path_params["model"])
        count = number(request, "lines", LINES_DEFAULT, LINES_MAX)
        if flag(request, "follow"):
            lines = _lines(self._control, model, count)
            return self.streams.response(lines, "text/plain; charset=utf-8")
        return JSONResponse({"model": model, "lines": await self._control.tail(model, count)})


async def _events(feed: EventStream, after: str | None) -> Pieces:
    with feed.reader(after) as reader:
        yield b"retry: 2000\n\n"
        while True:
            if not await reader.wait(STILL_HERE_S):
                yield b": still here\n\n"
                continue
            dropped, events = reader.take()
            pieces = [b'event: dropped\ndata: {"count":%d}\n\n' % dropped] if dropped else []
            pieces += [
                f"id: {feed.event_id(event)}\nevent: {event.kind}\ndata: ".encode() + event.data + b"\n\n"
                for event in events
            ]
            yield b"".join(pieces)


async def _lines(control: Control, model: str, count: int) -> Pieces:
    yield b""  # the header goes at once, whether or not there is a line
    async for line in control.follow(model, count):
        yield f"{line}\n".encode(errors="replace")
