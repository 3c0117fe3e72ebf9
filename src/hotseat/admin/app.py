"""The admin API: health, routes, stats, metrics, events, logs, and orders. Its requests are not traffic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hotseat.admin import schema
from hotseat.admin.control import CannotReload, CaptureControl, Control, Reload
from hotseat.admin.endpoints import ENDPOINTS
from hotseat.admin.openapi import openapi
from hotseat.admin.requests import read_body
from hotseat.admin.responses import error_detail, error_response, http_error, json_response
from hotseat.admin.stats import StatsView, shares
from hotseat.admin.watching import WatchEndpoints
from hotseat.core.access_spec import AdminRole
from hotseat.core.errors import Refusal
from hotseat.core.spec import Settings
from hotseat.logs import redact
from hotseat.telemetry.metrics import DeviceMemory
from hotseat.telemetry.recorder import Recorder


def _pattern(path: str) -> str:
    """Starlette's pattern for a path: a model's name may hold slashes."""
    return path.replace("{model}", "{model:path}")


class Admin:
    """The endpoints over a ``Control``; ``configure`` replaces the configuration that they describe."""

    def __init__(
        self,
        settings: Settings,
        control: Control,
        recorder: Recorder,
        *,
        wall_clock: Callable[[], float],
        reload: Reload,
        capturing: CaptureControl,
        devices: Callable[[], Sequence[DeviceMemory]],
        outdated: Mapping[str, str],
        tokens_under_way: Callable[[str], int] = lambda _: 0,
        warnings: Callable[[], list[str]] = list,
    ) -> None:
        """``wall_clock()`` is the time of day, in seconds since 1970; ``devices()`` reads the GPUs.

        ``outdated``: how the containers of models differ from their settings, always as it is now.
        ``tokens_under_way(model)`` counts the tokens of streams that have not ended.
        ``warnings()`` tells what does not stop models and should be mended.
        """
        self._warnings = warnings
        self._control, self._reload_config, self._capturing = control, reload, capturing
        self._stats = StatsView(
            control,
            recorder,
            wall_clock=wall_clock,
            devices=devices,
            capturing=capturing,
            outdated=outdated,
            tokens_under_way=tokens_under_way,
        )
        self._watching = WatchEndpoints(control, recorder, self._stats, self._find)
        self.configure(settings)
        handlers = {
            "/api/hello": self._health,
            "/healthz": self._healthz,
            "/health": self._health,
            "/readyz": self._readyz,
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
            routes=[Route(_pattern(one.path), handlers[one.path], methods=[one.method]) for one in ENDPOINTS],
            exception_handlers={HTTPException: http_error},
        )
        self.app.router.redirect_slashes = False  # a path has one spelling

    def configure(self, settings: Settings) -> None:
        """Describe this configuration from now on."""
        self._stats.configure(settings)

    def close(self) -> None:
        """End the open streams of events and logs."""
        self._watching.streams.close()

    # state

    async def _healthz(self, request: Request) -> Response:
        unusable = self._control.unusable()
        health = schema.HealthResponse(status="unavailable" if unusable else "ok")
        role = request.scope["state"]["admin_role"]
        if role > AdminRole.ANONYMOUS:
            health = msgspec.structs.replace(
                health,
                routes=self._stats.route_table(for_admin=role >= AdminRole.ADMIN),
                budget=shares(self._stats.settings.scheduler.budget),
                runtimes=dict(unusable) if unusable else msgspec.UNSET,
                warnings=self._warnings() or msgspec.UNSET,
            )
        return json_response(health, 503 if unusable else 200)

    async def _health(self, request: Request) -> Response:
        return json_response(schema.LivenessResponse(status="ok"))

    async def _readyz(self, request: Request) -> Response:
        return json_response(schema.LivenessResponse(status="ok"))

    async def _get_routes(self, request: Request) -> Response:
        return json_response(schema.RoutesResponse(routes=self._stats.route_table()))

    async def _get_stats(self, request: Request) -> Response:
        return json_response(self._stats.stats())

    async def _launch(self, request: Request) -> Response:
        model = self._find(request.path_params["model"])
        command, image = await self._control.made_of(model)
        return json_response(self._stats.launch(model, command, image))

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(openapi())

    # orders

    async def _start(self, request: Request) -> Response:
        order = await read_body(request, schema.StartRequest)
        model = self._find(order.route)
        refusal = await self._control.start(model, wait=order.wait)
        return self._model_response(model, refusal)

    async def _stop(self, request: Request) -> Response:
        order = await read_body(request, schema.StopRequest)
        model = self._find(order.route)
        if order.sleep and self._stats.settings.models[model].scheduling.sleep is None:
            raise HTTPException(400, f"{model} cannot sleep: set sleep for it in the configuration")
        await self._control.stop(model, wait=order.wait, to_sleep=order.sleep)
        return self._model_response(model, None)

    async def _reload(self, request: Request) -> Response:
        await read_body(request, schema.ReloadRequest)
        try:
            changes = await self._reload_config()
        except CannotReload as error:
            message = "\n".join([f"{error}:", *error.problems])
            detail = error_detail(message, "invalid_config")
            return json_response(schema.ReloadError(error=detail, problems=error.problems), 400)
        return json_response(msgspec.convert({"status": "ok", **changes}, schema.ReloadResponse))

    async def _capture(self, request: Request) -> Response:
        order = await read_body(request, schema.CaptureRequest)
        model, seconds = self._find(order.route), order.seconds
        try:
            status = self._capturing.start(model, seconds) if seconds else self._capturing.stop(model)
        except OSError as error:
            why = f"{error.filename}: {error.strerror}"
            return error_response(500, f"the capture's file cannot be created: {why}", "cannot_capture")
        fields = {"model": model, "capturing": seconds > 0, **(status or {})}
        return json_response(msgspec.convert(fields, schema.CaptureResponse))

    def _model_response(self, model: str, refusal: Refusal | None) -> Response:
        if refusal is not None:
            return error_response(refusal.status, refusal.message, str(refusal.code))
        status = self._stats.model(self._control.views()[model])
        return json_response(schema.ModelResponse(**msgspec.structs.asdict(status), model=model))

    def _find(self, name: str) -> str:
        """The model of a route's, model's or alias's name. Raises ``HTTPException`` (404)."""
        stats = self._stats
        if name in stats.routes:
            return stats.routes[name].model
        if name in stats.settings.models:
            return name
        for route in stats.routes.values():
            if any(fnmatchcase(name, alias) if "*" in alias else name == alias for alias in route.aliases):
                return route.model
        routes = ", ".join(stats.routes)
        raise HTTPException(404, f"no route or model is called {redact(name)[:100]!r}; there are {routes}")
