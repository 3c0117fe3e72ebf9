"""The admin API: health, routes, stats, orders and logs. Nothing here counts as traffic."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hotseat.admin.control import CannotReload, Control, Reload
from hotseat.core.errors import Refusal
from hotseat.core.front import Standing
from hotseat.core.spec import PPM, DockerSpec, Footprint, ModelSpec, RouteSpec, Settings
from hotseat.core.views import SeatView

LINES_DEFAULT, LINES_MAX = 100, 10_000


class Admin:
    """The endpoints, over a ``Control``; ``configure`` swaps the configuration that they speak of."""

    def __init__(
        self, settings: Settings, control: Control, *, wall: Callable[[], float], reload: Reload
    ) -> None:
        """``wall()`` is the time of day, in seconds since 1970."""
        self._control, self._wall, self._reload_config = control, wall, reload
        self.configure(settings)
        self.app = Starlette(
            routes=[
                Route("/healthz", self._healthz, methods=["GET"]),
                Route("/health", self._health, methods=["GET"]),
                Route("/routes", self._get_routes, methods=["GET"]),
                Route("/stats", self._stats, methods=["GET"]),
                Route("/admin/start", self._start, methods=["POST"]),
                Route("/admin/stop", self._stop, methods=["POST"]),
                Route("/admin/reload", self._reload, methods=["POST"]),
                Route("/logs/{model}", self._logs, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _http_error},
        )

    def configure(self, settings: Settings) -> None:
        """Speak of this configuration from now on."""
        self._models = settings.models
        self._routes = {route.name: route for route in settings.routes}
        self._settings = settings

    # what is going on

    async def _healthz(self, request: Request) -> Response:
        broken = self._control.unusable()
        body: dict[str, Any] = {"status": "unavailable" if broken else "ok"}
        if request.scope["state"]["standing"] > Standing.STRANGER:
            body["routes"] = self._route_table(lines=request.scope["state"]["standing"] >= Standing.ADMIN)
            body["budget"] = _shares(self._settings.box.budget)
            if broken:
                body["runtimes"] = dict(broken)
        return JSONResponse(body, status_code=503 if broken else 200)

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _get_routes(self, request: Request) -> Response:
        return JSONResponse({"routes": self._route_table()})

    def _route_table(self, *, lines: bool = True) -> dict[str, dict[str, Any]]:
        """``lines``: with the lines that a failed model wrote last, which are for admins."""
        views = self._control.views()
        return {name: self._route(route, views, lines=lines) for name, route in self._routes.items()}

    def _route(self, route: RouteSpec, views: Mapping[str, SeatView], *, lines: bool) -> dict[str, Any]:
        view, model = views[route.model], self._models[route.model]
        row: dict[str, Any] = {
            "model": route.model,
            "path": f"{route.path}/v1",
            "aliases": list(route.aliases),
            "runtime": model.runtime,
            "target": _target(model),
            "state": str(view.state),
            "default": route.name == self._settings.serve.default_route,
            "footprint": _shares(model.seat.footprint),
        }
        phase = self._control.phase(route.model)
        if phase is not None:
            row["phase"] = phase
        if view.reason is not None:
            row["last_error"] = _reason(view, lines=lines)
        return row

    async def _stats(self, request: Request) -> Response:
        views = self._control.views()
        return JSONResponse({"models": {name: self._model(view) for name, view in views.items()}})

    def _model(self, view: SeatView) -> dict[str, Any]:
        control, now = self._control, self._control.now()
        return {
            "state": str(view.state),
            "run": view.run,
            "phase": control.phase(view.model),
            "eta_s": _rounded(control.eta_s(view.model)),
            "since": self._at(view.since),
            "in_flight": view.in_flight,
            "waiting": view.waiting,
            "requests": control.requests(view.model),
            "starts": view.starts,
            "spin_up_s": [round(s, 3) for s in control.spin_ups(view.model)],
            "last_hit": None if view.last_used is None else self._at(view.last_used),
            "idle_stops": view.idle_stops,
            "evictions": view.evictions,
            "failures": view.failures,
            "retry_in_s": None
            if view.backoff_until is None
            else _rounded(max(0.0, view.backoff_until - now)),
            "footprint": _shares(view.footprint),
            "last_error": _reason(view),
        }

    def _at(self, then: float) -> str:
        at = datetime.datetime.fromtimestamp(self._wall() - (self._control.now() - then), datetime.UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    # orders

    async def _start(self, request: Request) -> Response:
        model, wait = await self._order(request)
        refusal = await self._control.start(model, wait=wait)
        return self._done(model, refusal)

    async def _stop(self, request: Request) -> Response:
        model, wait = await self._order(request)
        await self._control.stop(model, wait=wait)
        return self._done(model, None)

    async def _reload(self, request: Request) -> Response:
        _wants_json(request)
        try:
            changes = await self._reload_config()
        except CannotReload as error:
            message = "\n".join([f"{error}:", *error.problems])
            body = _error_body(message, "invalid_config") | {"problems": error.problems}
            return JSONResponse(body, status_code=400)
        return JSONResponse({"status": "ok", **changes})

    def _done(self, model: str, refusal: Refusal | None) -> Response:
        if refusal is not None:
            return _error(refusal.status, refusal.message, str(refusal.code))
        view = self._control.views()[model]
        return JSONResponse({"model": model, **self._model(view)})

    async def _order(self, request: Request) -> tuple[str, bool]:
        _wants_json(request)
        try:
            order = await request.json()
        except ValueError:
            raise HTTPException(400, "the body is not valid JSON") from None
        if not isinstance(order, dict) or not isinstance(order.get("route"), str):
            raise HTTPException(400, 'the body must be like {"route": "chat"}, with the name as a string')
        unknown = sorted(set(order) - {"route", "wait"})
        if unknown:
            raise HTTPException(400, f"unknown field {unknown[0]!r}; known are route and wait")
        wait = order.get("wait", False)
        if not isinstance(wait, bool):
            raise HTTPException(400, "wait must be true or false")
        return self._find(order["route"]), wait

    def _find(self, name: str) -> str:
        if name in self._routes:
            return self._routes[name].model
        if name in self._models:
            return name
        raise HTTPException(404, f"no route or model is called {name!r}; there are {', '.join(self._routes)}")

    async def _logs(self, request: Request) -> Response:
        model = self._find(request.path_params["model"])
        text = request.query_params.get("lines", str(LINES_DEFAULT))
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LINES_MAX:
            raise HTTPException(400, f"lines must be a number from 1 to {LINES_MAX}")
        lines = await self._control.tail(model, int(text))
        return JSONResponse({"model": model, "lines": lines})


def _shares(footprint: Footprint) -> dict[str, float]:
    return {device: ppm / PPM for device, ppm in footprint.items()}


def _target(model: ModelSpec) -> str:
    launch = model.launch
    return launch.container if isinstance(launch, DockerSpec) else launch.command[0]


def _reason(view: SeatView, *, lines: bool = True) -> dict[str, Any] | None:
    reason = view.reason
    if reason is None:
        return None
    told = {"summary": reason.summary, "hint": reason.hint}
    return {**told, "lines": list(reason.lines)} if lines else told


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _wants_json(request: Request) -> None:
    """Orders come as JSON: what a page of another origin cannot send without asking first."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, 'send JSON, with "Content-Type: application/json"')


def _error_body(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


def _error(status: int, message: str, code: str) -> Response:
    return JSONResponse(_error_body(message, code), status_code=status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request_error")
    response = _error(error.status_code, error.detail, code)
    response.headers.update(error.headers or {})
    return response
