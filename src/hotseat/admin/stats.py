"""How things stand and what happened, as JSON: ``/routes`` and ``/stats``."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hotseat import __version__, machine
from hotseat.admin.control import CaptureControl, Control
from hotseat.core.spec import PPM, Footprint, RouteSpec, Settings
from hotseat.core.views import ModelView
from hotseat.secret_names import is_secret_name
from hotseat.telemetry.metrics import DeviceMemory, MetricsSnapshot
from hotseat.telemetry.recorder import Recorder

TOLD_INCIDENTS = 20
"""Failures, and swaps, in ``/stats``."""
TOLD_MINUTES = 60


class StatsView:
    """Reads the control, the chronicle and the GPUs."""

    def __init__(
        self,
        control: Control,
        chronicle: Recorder,
        *,
        wall_clock: Callable[[], float],
        devices: Callable[[], Sequence[DeviceMemory]],
        capturing: CaptureControl,
    ) -> None:
        """``wall_clock()`` is the time of day, in seconds since 1970; ``devices()`` reads the GPUs."""
        self._control, self._chronicle, self._wall_clock, self._devices = (
            control,
            chronicle,
            wall_clock,
            devices,
        )
        self._capturing = capturing
        self._began_at = wall_clock()

    def configure(self, settings: Settings) -> None:
        """Speak of this configuration from now on."""
        self.settings = settings
        self.routes = {route.name: route for route in settings.routes}

    # routes

    def route_table(self, *, lines: bool = True) -> dict[str, dict[str, Any]]:
        """``lines``: with what is for admins: lines that a failed model wrote last, the capture."""
        views = self._control.views()
        table = {name: self._route(route, views, lines=lines) for name, route in self.routes.items()}
        for model, capture in self._capturing.told().items() if lines else ():
            for row in table.values():
                if row["model"] == model:
                    row["capture"] = dict(capture)
        return table

    def _route(self, route: RouteSpec, views: Mapping[str, ModelView], *, lines: bool) -> dict[str, Any]:
        view, model = views[route.model], self.settings.models[route.model]
        row: dict[str, Any] = {
            "model": route.model,
            "path": f"{route.path}/v1",
            "aliases": list(route.aliases),
            "runtime": model.runtime,
            "target": model.launch.target,
            "state": str(view.state),
            "default": route.name == self.settings.serve.default_route,
            "footprint": shares(model.scheduling.footprint),
        }
        phase = self._control.phase(route.model)
        if phase is not None:
            row["phase"] = phase
        if view.reason is not None:
            row["last_error"] = _reason(view, lines=lines)
        return row

    def launch(self, name: str, command: Sequence[str] | None, image: str | None) -> dict[str, Any]:
        """``/admin/launch/{model}``."""
        model = self.settings.models[name]
        return {
            "model": name,
            "runtime": model.runtime,
            "target": model.launch.target,
            "image": image,
            "command": None if command is None else without_secrets(command),
            "sleeps": model.scheduling.sleep is not None,
            "footprint": shares(model.scheduling.footprint),
            "machine": machine.facts() | {"gpus": [[gpu.name, gpu.total_mib] for gpu in self._devices()]},
            "hotseat": __version__,
        }

    # models, and the box

    def everything(self) -> dict[str, Any]:
        """``/stats``."""
        history = self._chronicle.history
        return {
            "models": {name: self.model(view) for name, view in self._control.views().items()},
            "budget": shares(self.settings.scheduler.budget),
            "gpus": [
                {
                    "device": gpu.device,
                    "name": gpu.name,
                    "total_mib": gpu.total_mib,
                    "used_mib": gpu.used_mib,
                    "busy_percent": gpu.busy_percent,
                }
                for gpu in self._devices()
            ],
            "failures": [asdict(one) | {"at": iso(one.at)} for one in history.failures(TOLD_INCIDENTS)],
            "swaps": [
                {"at": iso(one.at), "from": one.old, "to": one.new} for one in history.swaps(TOLD_INCIDENTS)
            ],
            "unusable_runtimes": dict(self._control.unusable()),
            "since": iso(self._began_at),
        }

    def model(self, view: ModelView) -> dict[str, Any]:
        """One model."""
        control, now = self._control, self._control.now()
        counts = self._chronicle.metrics.models.get(view.model)
        moved = self._chronicle.last_move(view.model) is not None
        return {
            "state": str(view.state),
            "run": view.run,
            "phase": control.phase(view.model),
            "eta_s": _rounded(control.eta_s(view.model)),
            "since": self._at(view.since) if moved else iso(self._began_at),
            "last_move": self._last_move(view.model),
            "in_flight": view.in_flight,
            "waiting": view.waiting,
            "requested": view.requested,
            "requests": control.requests(view.model),
            "tokens_in": counts.tokens_in if counts else 0,
            "tokens_out": counts.tokens_out if counts else 0,
            "minutes": self._minutes(view.model),
            "starts": view.starts,
            "spin_up_s": [round(s, 3) for s in control.spin_ups(view.model)],
            "last_hit": None if view.last_used is None else self._at(view.last_used),
            "idle_stops": view.idle_stops,
            "evictions": view.evictions,
            "failures": view.failures,
            "retry_in_s": None
            if view.backoff_until is None
            else _rounded(max(0.0, view.backoff_until - now)),
            "footprint": shares(view.footprint),
            "last_error": _reason(view),
        }

    def _last_move(self, model: str) -> dict[str, Any] | None:
        move = self._chronicle.last_move(model)
        return asdict(move) | {"at": iso(move.at)} if move else None

    def _minutes(self, model: str) -> list[dict[str, Any]]:
        since = int(self._wall_clock() // 60) - TOLD_MINUTES
        return [
            {
                "at": iso(one.minute * 60),
                "requests": one.requests,
                "errors": one.errors,
                "tokens_in": one.tokens_in,
                "tokens_out": one.tokens_out,
            }
            for one in self._chronicle.history.minutes(model, since)
        ]

    def _at(self, then: float) -> str:
        return iso(self._wall_clock() - (self._control.now() - then))

    def snapshot(self) -> MetricsSnapshot:
        """For the metrics."""
        broken = self._control.unusable()
        runtimes = {model.runtime for model in self.settings.models.values()}
        return MetricsSnapshot(
            views=self._control.views(),
            now=self._control.now(),
            wall_clock=self._wall_clock(),
            budget=self.settings.scheduler.budget,
            runtimes={name: name not in broken for name in sorted(runtimes)},
            devices=self._devices(),
        )


def shares(footprint: Footprint) -> dict[str, float]:
    """Of each device, from 0 to 1."""
    return {device: ppm / PPM for device, ppm in footprint.items()}


def iso(at: float) -> str:
    """Unix time as text."""
    text = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def without_secrets(command: Sequence[str]) -> list[str]:
    """A command's words, less the values of flags that speak of keys, tokens and passwords."""
    told: list[str] = []
    hide = False
    for word in command:
        name, equals, _ = word.partition("=")
        if hide and not word.startswith("--"):
            told.append("***")
            hide = False
            continue
        secret = is_secret_name(name)
        told.append(f"{name}=***" if secret and equals else word)
        hide = secret and not equals and word.startswith("-")
    return told


def _reason(view: ModelView, *, lines: bool = True) -> dict[str, Any] | None:
    reason = view.reason
    if reason is None:
        return None
    told: dict[str, Any] = {"summary": reason.summary, "hint": reason.hint}
    if lines:
        told |= {"exit_code": reason.exit_code, "signal": reason.signal, "oom": reason.oom}
        told["lines"] = list(reason.lines)
    return told


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
