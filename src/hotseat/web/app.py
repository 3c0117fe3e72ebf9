"""The page's endpoints: its files, sign-in, and what only the page asks for (below ``/ui/api``).

Orders that others may give as well (start, stop, reload, capture) are those of the admin API.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import yaml
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hotseat import logs
from hotseat.admin.requests import read_body, read_query
from hotseat.admin.responses import error_response, http_error
from hotseat.admin.streams import Chunks, OpenStreams
from hotseat.clients.connect import configurations
from hotseat.core.access_spec import AdminRole
from hotseat.core.spec import Settings
from hotseat.telemetry.event_stream import MOST_READERS
from hotseat.web.configuration import without_secrets
from hotseat.web.control import PageServices
from hotseat.web.files import PageFiles
from hotseat.web.live import REREAD_S, STILL_HERE_S, LiveTopic
from hotseat.web.requests import RequestsPage
from hotseat.web.schema import CancelOrder, HoldOrder, MomentQuery, NoFields, TimelineQuery
from hotseat.web.seats import SeatsPage
from hotseat.web.sessions import SESSION_S
from hotseat.web.speed import Speedometer
from hotseat.web.timeline import SPANS, timeline

COOKIE = "hotseat_session"
DOCTOR_S = 60.0
"""How long ``hotseat doctor`` may take."""
LOG_POLL_S = 0.25

Endpoint = Callable[[Request], Awaitable[Response]]


class Page:
    """The page's ASGI application, and the switch between it and the admin API."""

    def __init__(self, settings: Settings, services: PageServices) -> None:
        self._services = services
        speed = Speedometer(services.requests, services.clock)
        self._seats = SeatsPage(services, settings, speed)
        self._requests = RequestsPage(services, speed)
        self._topics = {
            "seats": LiveTopic(self._seats.collect, services.clock),
            "requests": LiveTopic(self._requests.collect, services.clock),
        }
        self._files = PageFiles()
        self._streams = OpenStreams()
        self._doctor = asyncio.Lock()
        self._viewers = 0
        self._generation = 0
        """Counts configurations: streams of an earlier one end, and are asked for again with a key of now."""
        gets: dict[str, Endpoint] = {
            "/": self._index,
            "/ui": self._redirect,
            "/ui/": self._index,
            "/ui/session": self._session,
            "/ui/connect": self._connect,
            "/ui/api/live": self._live,
            "/ui/api/timeline": self._timeline,
            "/ui/api/requests": self._moment,
            "/ui/api/config": self._config,
            "/ui/api/doctor": self._examine,
            "/ui/api/keys": self._keys,
            "/ui/api/logs": self._logs,
            "/ui/api/captures/{model}": self._capture,
            "/ui/{name:path}": self._file,
        }
        posts: dict[str, Endpoint] = {
            "/ui/session": self._sign_in,
            "/ui/api/cancel": self._cancel,
            "/ui/api/hold": self._hold,
            "/ui/api/preview": self._preview,
        }
        self.app = Starlette(
            routes=[
                *(Route(path, answer, methods=["POST"]) for path, answer in posts.items()),
                Route("/ui/session", self._sign_out, methods=["DELETE"]),
                *(Route(path, answer, methods=["GET"]) for path, answer in gets.items()),
            ],
            exception_handlers={HTTPException: http_error},
        )
        self.app.router.redirect_slashes = False

    def configure(self, settings: Settings) -> None:
        """Show this configuration from now on."""
        self._seats.settings = settings
        self._generation += 1

    def close(self) -> None:
        """Bring the streams to their end."""
        self._streams.close()

    # the page itself

    async def _index(self, request: Request) -> Response:
        if request.url.path == "/" and "text/html" not in request.headers.get("accept", ""):
            words = {"name": "hotseat", "page": "/ui/", "models": "/v1/models", "openapi": "/openapi.json"}
            return JSONResponse(words, headers={"vary": "accept"})
        response = self._files.response(request, "index.html")
        response.headers["vary"] = "accept, accept-encoding"
        return response

    async def _redirect(self, request: Request) -> Response:
        return RedirectResponse("/ui/", 308)

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404, "the page has no such file")
        return self._files.response(request, name)

    # sign-in

    async def _session(self, request: Request) -> Response:
        state = request.scope["state"]
        return JSONResponse(
            {
                "admin": state["admin_role"] >= AdminRole.ADMIN,
                "allowed": state["admin_role"] > AdminRole.ANONYMOUS,
                "key": state["key"],
                "signed_in": state["session"],
                "sign_in": self._seats.settings.auth.enforced,
                "second_factor": self._seats.settings.auth.api_secret is not None,
            },
            headers=_NO_STORE,
        )

    async def _sign_in(self, request: Request) -> Response:
        await read_body(request, NoFields)
        state = request.scope["state"]
        if state["problem"] is not None:
            code, message = state["problem"]
            return error_response(401, message, code)
        if state["credential"] is None or state["session"]:
            return error_response(403, "sign in with a key: this one belongs to web pages", "cannot_sign_in")
        token, _ = self._services.sessions.create(state["credential"])
        response = JSONResponse({"status": "ok"}, headers=_NO_STORE)
        _set_cookie(request, response, token, int(SESSION_S))
        return response

    async def _sign_out(self, request: Request) -> Response:
        token = request.cookies.get(COOKIE)
        if token is not None:
            self._services.sessions.end(token.encode())
            self._generation += 1
        response = JSONResponse({"status": "ok"}, headers=_NO_STORE)
        _set_cookie(request, response, "", 0)
        return response

    async def _connect(self, request: Request) -> Response:
        if request.scope["state"]["admin_role"] < AdminRole.READER:
            return error_response(401, "sign in first", "missing_api_key")
        settings = self._seats.settings
        base = f"{request.url.scheme}://{request.headers.get('host', '127.0.0.1')}"
        return JSONResponse({"url": base, "clients": configurations(base, settings)})

    # live

    async def _live(self, request: Request) -> Response:
        topic = self._topics.get(request.query_params.get("topic", ""))
        if topic is None:
            raise HTTPException(400, f"topic must be one of {', '.join(self._topics)}")
        if len(self._services.recorder.events) >= MOST_READERS:
            raise HTTPException(503, "too many pages are open already", {"Retry-After": "30"})
        return self._streams.response(self._updates(topic), "text/event-stream")

    async def _updates(self, topic: LiveTopic) -> Chunks:
        generation, seen, quiet_s = self._generation, 0, 0.0
        self._requests.viewer_came()
        try:
            with self._services.recorder.events.reader() as reader:
                yield b"retry: 1000\n\n"
                while generation == self._generation:
                    version = topic.refresh()
                    changes = topic.since(seen)
                    if changes is not None:
                        quiet_s = 0.0
                        kind = b"all" if seen == 0 else b"some"
                        seen = version
                        yield b"event: %b\ndata: %b\n\n" % (kind, changes)
                    elif quiet_s >= STILL_HERE_S:
                        quiet_s = 0.0
                        yield b": still here\n\n"
                    if not await reader.wait(REREAD_S):
                        quiet_s += REREAD_S
                    reader.take()
        finally:
            self._requests.viewer_left()

    async def _logs(self, request: Request) -> Response:
        return self._streams.response(_own_log(), "text/plain; charset=utf-8")

    # what happened

    async def _timeline(self, request: Request) -> Response:
        span = read_query(request, TimelineQuery).minutes
        if span not in SPANS:
            raise HTTPException(400, f"minutes must be one of {', '.join(map(str, SPANS))}")
        now = self._services.wall_clock()
        told = await asyncio.to_thread(timeline, self._services.recorder.history, span, now)
        return JSONResponse({**told, "models": list(self._seats.settings.models)})

    async def _moment(self, request: Request) -> Response:
        asked = read_query(request, MomentQuery)
        return JSONResponse({"requests": self._requests.between(asked.since, asked.until)})

    # health

    async def _config(self, request: Request) -> Response:
        settings = self._seats.settings
        try:
            text = await asyncio.to_thread(Path(settings.source).read_text)
            shown, problem = without_secrets(text), None
        except (OSError, UnicodeError, yaml.YAMLError) as why:
            shown, problem = "", f"{settings.source} cannot be shown: {why}"
        return JSONResponse({"file": settings.source, "text": shown, "problem": problem}, headers=_NO_STORE)

    async def _preview(self, request: Request) -> Response:
        await read_body(request, NoFields)
        return JSONResponse(dict(await self._services.preview()))

    async def _examine(self, request: Request) -> Response:
        async with self._doctor:
            source = self._seats.settings.source
            return JSONResponse(await _doctor(source), headers=_NO_STORE)

    async def _keys(self, request: Request) -> Response:
        keys = self._seats.settings.auth.keys
        rows = [
            {
                "name": key.name,
                "admin": key.admin,
                "routes": None if key.routes is None else sorted(key.routes),
                "origins": None if key.origins is None else sorted(key.origins),
                "expires_at": key.expires_at,
                "priority": key.priority,
            }
            for key in keys
        ]
        return JSONResponse({"keys": rows, "sessions": len(self._services.sessions)})

    # orders

    async def _cancel(self, request: Request) -> Response:
        order = await read_body(request, CancelOrder)
        if not self._services.requests.cancel(order.id):
            raise HTTPException(404, "this request has ended already")
        return JSONResponse({"status": "ok"})

    async def _hold(self, request: Request) -> Response:
        order = await read_body(request, HoldOrder)
        if order.model not in self._seats.settings.models:
            raise HTTPException(404, "there is no such model")
        self._services.seats.hold(order.model, order.seconds)
        return JSONResponse({"model": order.model, "until": self._services.seats.held_until(order.model)})

    async def _capture(self, request: Request) -> Response:
        told = self._services.captures.told().get(request.path_params["model"])
        if told is None:
            raise HTTPException(404, "no capture of this model is on")
        name = f"{request.path_params['model']}.jsonl"
        return FileResponse(told["file"], media_type="application/jsonl", filename=name, headers=_NO_STORE)


class Site:
    """Everything that hotseat answers itself: the page, the agents' tools, and the admin API for all else."""

    def __init__(self, page: Starlette, admin: Starlette, mcp: ASGIApp) -> None:
        self._page, self._admin, self._mcp = page, admin, mcp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == "/mcp":
            await self._mcp(scope, receive, send)
            return
        of_page = path in ("/", "/ui") or path.startswith("/ui/")
        await (self._page if of_page else self._admin)(scope, receive, send)


_NO_STORE = {"cache-control": "no-store"}


def _set_cookie(request: Request, response: Response, token: str, seconds: int) -> None:
    secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    response.set_cookie(
        COOKIE, token, max_age=seconds, path="/", secure=secure, httponly=True, samesite="strict"
    )


async def _own_log() -> Chunks:
    """hotseat's own log, as JSON lines: the latest, then each as it comes."""
    seen, lines = logs.recent.since(0)
    yield b""  # the header goes at once
    while True:
        if lines:
            yield "".join(f"{line}\n" for line in lines).encode(errors="replace")
        await asyncio.sleep(LOG_POLL_S)
        seen, lines = logs.recent.since(seen)


async def _doctor(source: str) -> dict[str, Any]:
    """Run ``hotseat doctor`` as a process of its own (it takes its time) and return its findings."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hotseat", "doctor", "--json", "-c", source),
        *("--stack", str(Path(source).parent)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DOCTOR_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return {"checks": [], "problem": f"hotseat doctor took longer than {DOCTOR_S:g} s"}
    try:
        found: dict[str, Any] = json.loads(logs.redact(out.decode(errors="replace")))
    except ValueError:
        return {"checks": [], "problem": logs.redact(err.decode(errors="replace").strip())[:2000]}
    return found
