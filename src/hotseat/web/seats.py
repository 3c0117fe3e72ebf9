"""The home page's data: the box, and each model with the reason why it waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotseat import __version__
from hotseat.core.spec import PPM, Footprint, ModelSpec, Settings
from hotseat.core.states import LEAVING, LOADING, State
from hotseat.core.views import ModelView
from hotseat.web.control import PageServices
from hotseat.web.speed import Speedometer


class SeatsPage:
    """Reads what the home page shows."""

    def __init__(self, services: PageServices, settings: Settings, speed: Speedometer) -> None:
        self._services, self._speed = services, speed
        self._began_at = services.wall_clock()
        self.settings = settings

    def collect(self) -> dict[str, Any]:
        """The box under ``box``, and each model under ``model/NAME``."""
        views = self._services.seats.views()
        speeds = self._speed.read()
        rows = {
            f"model/{name}": self._model(view, views, speeds.get(name))
            for name, view in views.items()
            if name in self.settings.models
        }
        return {"box": self._box(), **rows}

    def _box(self) -> dict[str, Any]:
        services, settings = self._services, self.settings
        return {
            "version": __version__,
            "began_at": round(self._began_at, 3),
            "budget": _shares(settings.scheduler.budget),
            "devices": [
                {
                    "device": gpu.device,
                    "name": gpu.name,
                    "total_mib": gpu.total_mib,
                    "used_mib": gpu.used_mib,
                    "busy_percent": gpu.busy_percent,
                }
                for gpu in services.devices()
            ],
            "unusable": dict(services.seats.unusable()),
            "captures": {model: dict(told) for model, told in services.captures.told().items()},
            "default_route": settings.serve.default_route,
        }

    def _model(
        self, view: ModelView, views: Mapping[str, ModelView], tokens_s: float | None
    ) -> dict[str, Any]:
        services, spec = self._services, self.settings.models[view.model]
        counts = services.recorder.metrics.models.get(view.model)
        move = services.recorder.last_move(view.model)
        eta_s = services.seats.eta_s(view.model)
        routes = [route for route in self.settings.routes if route.model == view.model]
        loading = view.state in LOADING or view.state is State.DOWNLOADING
        return {
            "name": view.model,
            "state": str(view.state),
            "phase": services.seats.phase(view.model),
            "since": None if move is None else round(move.at, 1),
            "expected_s": None if eta_s is None or loading else round(eta_s, 1),
            "ready_at": self._at(eta_s) if loading else None,
            "start_s": None if view.start_cost_s is None else round(view.start_cost_s, 1),
            "in_flight": view.in_flight,
            "waiting": view.waiting,
            "requested": view.requested,
            "why": self._why(view, spec, views),
            "footprint": _shares(view.footprint),
            "need": _shares(spec.scheduling.footprint),
            "tokens_s": tokens_s,
            "idle_at": self._unix(view.idle_at),
            "held_until": services.seats.held_until(view.model),
            "pinned": spec.scheduling.pinned,
            "sleeps": spec.scheduling.sleep is not None,
            "retry_at": self._unix(view.backoff_until),
            "error": None
            if view.reason is None
            else {"summary": view.reason.summary, "hint": view.reason.hint, "lines": list(view.reason.lines)},
            "failures": view.failures,
            "starts": view.starts,
            "requests": counts.requests if counts else 0,
            "tokens_out": counts.tokens_out if counts else 0,
            "used_at": self._unix(view.last_used),
            "routes": [
                {"name": route.name, "path": f"{route.path}/v1", "aliases": list(route.aliases)}
                for route in routes
            ],
            "runtime": spec.runtime,
            "target": spec.launch.describe(),
            "engine": spec.engine,
        }

    def _why(self, view: ModelView, spec: ModelSpec, views: Mapping[str, ModelView]) -> dict[str, Any] | None:
        """The reason why those who want the model wait, and its end (Unix time); ``None``: nobody waits."""
        if not (view.waiting or view.requested):
            return None
        if view.state is State.READY:
            most = spec.scheduling.max_in_flight
            return {"text": f"all {most} places are taken" if most else "about to be answered", "at": None}
        if view.state is State.BACKOFF:
            return {"text": "it failed; the next try", "at": self._unix(view.backoff_until)}
        if view.state not in (State.STOPPED, State.ASLEEP):
            return None  # its phase says it
        others = [other for other in views.values() if other.model != view.model and other.footprint]
        for other in others:
            if other.state is State.DRAINING and other.in_flight:
                answers = "an answer" if other.in_flight == 1 else f"{other.in_flight} answers"
                return {"text": f"{other.model} finishes {answers} first", "at": None}
        for other in others:
            if other.state in LEAVING:
                return {"text": f"{other.model} is leaving the GPU", "at": None}
        in_use = [other for other in others if other.state is State.READY]
        at = self._services.seats.next_turn_at()
        if in_use:
            largest = max(in_use, key=lambda other: sum(other.footprint.values()))
            text = f"{largest.model}'s turn ends" if at is not None else f"it is {largest.model}'s turn"
            return {"text": text, "at": self._unix(at)}
        return {"text": "it waits for memory", "at": None}

    def _unix(self, then: float | None) -> float | None:
        """A time of the core as Unix time, to a tenth of a second; ``None`` for never."""
        if then is None or then == float("inf"):
            return None
        return self._at(then - self._services.seats.now())

    def _at(self, seconds: float | None) -> float | None:
        """So many seconds from now, as Unix time."""
        return None if seconds is None else round(self._services.wall_clock() + seconds, 0)


def _shares(footprint: Footprint | Mapping[str, int]) -> dict[str, float]:
    """Of each device, from 0 to 1."""
    return {device: ppm / PPM for device, ppm in footprint.items()}
