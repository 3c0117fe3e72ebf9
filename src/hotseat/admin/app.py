"""The admin API: health, routes, stats, orders and what can be watched. Nothing here counts as traffic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hotseat.admin.answers import error, error_body, http_error, order
from hotseat.admin.control import CannotReload, CaptureControl, Control, Reload
from hotseat.admin.endpoints import ENDPOINTS, openapi
from hotseat.admin.stats import StatsView, shares
from hotseat.admin.watching import WatchEndpoints
from hotseat.core.access_spec import AdminRole
from hotseat.core.errors import Refusal
from hotseat.core.spec import Settings
from hotseat.logs import redact
from hotseat.telemetry.metrics import DeviceMemory
from hotseat.telemetry.recorder import Recorder

CAPTURE_MOST_S = 3600
"""The longest time that a capture can be ordered for."""


class Admin:
    """The endpoints, over a ``Control``; ``configure`` swaps the configuration that they speak of."""

    def __init__(
        self,
        settings: Settings,
        control: Control,
        chronicle: Recorder,
        *,
        wall_clock: Callable[[], float],
        reload: Reload,
        capturing: CaptureControl,
        devices: Callable[[], Sequence[DeviceMemory]],
    ) -> None:
        """``wall_clock()`` is the time of day, in seconds since 1970; ``devices()`` reads the GPUs."""
        self._control, self._reload_config, self._capturing = control, reload, capturing
        self._stats = StatsView(
            control, chronicle, wall_clock=wall_clock, devices=devices, capturing=capturing
        )
        self._watching = WatchEndpoints(control, chronicle, self._stats, self._find)
        self.configure(settings)
        answers = {
            "/healthz": self._healthz,
            "/health": self._health,
            "/routes": self._get_routes,
            "/stats": self._get_stats,
            "/metrics": self._watching.metrics,
            "/metrics/models": self._watching.model_metrics,
            "/events": self._watching.events,
            "/admin/launch/{model}": self._launch,
            "/logs/{model}": self._watching.logs,
            "/openapi.json": self._openapi,
            "/admin/start": self._start,
            "/admin/stop": self._stop,
            "/admin/reload": self._reload,
            "/admin/capture": self._capture,
        }
        self.app = Starlette(
            routes=[Route(one.path, answers[one.path], methods=[one.method]) for one in ENDPOINTS],
            exception_handlers={HTTPException: http_error},
        )
        self.app.router.redirect_slashes = False  # a path has one spelling

    def configure(self, settings: Settings) -> None:
        """Speak of this configuration from now on."""
        self._stats.configure(settings)

    def close(self) -> None:
        """Bring the streams to their end; there is nothing more to tell."""
        self._watching.streams.close()

    # what is going on

    async def _healthz(self, request: Request) -> Response:
        broken = self._control.unusable()
        body: dict[str, Any] = {"status": "unavailable" if broken else "ok"}
        role = request.scope["state"]["admin_role"]
        if role > AdminRole.ANONYMOUS:
            body["routes"] = self._stats.route_table(lines=role >= AdminRole.ADMIN)
            body["budget"] = shares(self._stats.settings.scheduler.budget)
            if broken:
                body["runtimes"] = dict(broken)
        return JSONResponse(body, status_code=503 if broken else 200)

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _get_routes(self, request: Request) -> Response:
        return JSONResponse({"routes": self._stats.route_table()})

    async def _get_stats(self, request: Request) -> Response:
        return JSONResponse(self._stats.everything())

    async def _launch(self, request: Request) -> Response:
        model = self._find(request.path_params["model"])
        command, image = await self._control.made_of(model)
        return JSONResponse(self._stats.launch(model, command, image))

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(openapi())

    # orders

    async def _start(self, request: Request) -> Response:
        model, order = await self._order(request, wait=False)
        refusal = await self._control.start(model, wait=order["wait"])
        return self._done(model, refusal)

    async def _stop(self, request: Request) -> Response:
        model, order = await self._order(request, wait=False, sleep=False)
        if order["sleep"] and self._stats.settings.models[model].scheduling.sleep is None:
            raise HTTPException(400, f"{model} does not sleep: configure sleep for it")
        await self._control.stop(model, wait=order["wait"], to_sleep=order["sleep"])
        return self._done(model, None)

    async def _reload(self, request: Request) -> Response:
        await order(request, ())
        try:
            changes = await self._reload_config()
        except CannotReload as error:
            message = "\n".join([f"{error}:", *error.problems])
            body = error_body(message, "invalid_config") | {"problems": error.problems}
            return JSONResponse(body, status_code=400)
        return JSONResponse({"status": "ok", **changes})

    def _done(self, model: str, refusal: Refusal | None) -> Response:
        if refusal is not None:
            return error(refusal.status, refusal.message, str(refusal.code))
        view = self._control.views()[model]
        return JSONResponse({"model": model, **self._stats.model(view)})

    async def _capture(self, request: Request) -> Response:
        model, order = await self._order(request, seconds=60)
        seconds: int = order["seconds"]
        if not 0 <= seconds <= CAPTURE_MOST_S:
            raise HTTPException(400, f"seconds must be a whole number from 0 (end it) to {CAPTURE_MOST_S}")
        try:
            told = self._capturing.start(model, seconds) if seconds else self._capturing.stop(model)
        except OSError as problem:
            why = f"{problem.filename}: {problem.strerror}"
            return error(500, f"the file cannot be made: {why}", "cannot_capture")
        return JSONResponse({"model": model, "capturing": seconds > 0, **(told or {})})

    async def _order(self, request: Request, **defaults: bool | int) -> tuple[str, dict[str, Any]]:
        """The model that ``route`` names, and what is said of the rest; each is of its default's kind."""
        given = await order(request, ("route", *defaults))
        if not isinstance(given.get("route"), str):
            raise HTTPException(400, 'the body must be like {"route": "chat"}, with the name as a string')
        given = {**defaults, **given}
        for name, default in defaults.items():
            if type(given[name]) is float and given[name].is_integer():
                given[name] = int(given[name])  # JSON knows one kind of number
            if type(given[name]) is not type(default):
                wanted = "true or false" if isinstance(default, bool) else "a whole number"
                raise HTTPException(400, f"{name} must be {wanted}")
        return self._find(given["route"]), given

    def _find(self, name: str) -> str:
        stats = self._stats
        if name in stats.routes:
            return stats.routes[name].model
        if name in stats.settings.models:
            return name
        raise HTTPException(
            404, f"no route or model is called {redact(name)[:100]!r}; there are {', '.join(stats.routes)}"
        )
