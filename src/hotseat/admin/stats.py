"""Build the responses that describe the current state: ``/routes``, ``/stats``, ``/admin/launch``."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import msgspec
from msgspec import UNSET

from hotseat import __version__, machine
from hotseat.admin import schema
from hotseat.admin.control import CaptureControl, Control
from hotseat.core.spec import PPM, Footprint, RouteSpec, Settings
from hotseat.core.views import ModelView
from hotseat.logs import redact
from hotseat.secret_names import is_secret_name
from hotseat.telemetry.metrics import DeviceMemory, MetricsSnapshot
from hotseat.telemetry.recorder import Recorder

INCIDENTS = 20
"""Failures, and swaps, in ``/stats``."""
MINUTES = 60
"""Minutes of traffic in ``/stats``, for each model."""


class StatsView:
    """Reads the models' control, the recorder and the GPUs."""

    def __init__(
        self,
        control: Control,
        recorder: Recorder,
        *,
        wall_clock: Callable[[], float],
        devices: Callable[[], Sequence[DeviceMemory]],
        capturing: CaptureControl,
        outdated: Mapping[str, str],
        tokens_under_way: Callable[[str], int],
    ) -> None:
        """``wall_clock()`` is the time of day, in seconds since 1970; ``devices()`` reads the GPUs."""
        self._control, self._recorder, self._capturing = control, recorder, capturing
        self._wall_clock, self._devices = wall_clock, devices
        self._outdated, self._tokens_under_way = outdated, tokens_under_way
        self._began_at = wall_clock()

    def configure(self, settings: Settings) -> None:
        """Describe this configuration from now on."""
        self.settings = settings
        self.routes = {route.name: route for route in settings.routes}

    # routes

    def route_table(self, *, for_admin: bool = True) -> dict[str, schema.RouteStatus]:
        """The routes by name; ``for_admin``: with the log lines of failed models, and captures."""
        views = self._control.views()
        captures = self._capturing.told() if for_admin else {}
        return {
            name: self._route(route, views[route.model], captures.get(route.model), for_admin=for_admin)
            for name, route in self.routes.items()
        }

    def _route(
        self, route: RouteSpec, view: ModelView, capture: Mapping[str, object] | None, *, for_admin: bool
    ) -> schema.RouteStatus:
        model = self.settings.models[route.model]
        phase, reason = self._control.phase(route.model), _reason(view, lines=for_admin)
        return schema.RouteStatus(
            model=route.model,
            path=f"{route.path}/v1",
            aliases=list(route.aliases),
            runtime=model.runtime,
            target=model.launch.target,
            state=str(view.state),
            default=route.name == self.settings.serve.default_route,
            footprint=shares(model.scheduling.footprint),
            context=UNSET if model.context is None else model.context,
            capabilities=list(model.capabilities) or UNSET,
            phase=UNSET if phase is None else phase,
            last_error=UNSET if reason is None else reason,
            capture=UNSET if capture is None else msgspec.convert(capture, schema.CaptureStatus),
        )

    def launch(self, name: str, command: Sequence[str] | None, image: str | None) -> schema.LaunchResponse:
        """``/admin/launch/{model}``."""
        model = self.settings.models[name]
        gpus = [(gpu.name, gpu.total_mib) for gpu in self._devices()]
        return schema.LaunchResponse(
            model=name,
            runtime=model.runtime,
            target=model.launch.target,
            image=image,
            command=None if command is None else without_secrets(command),
            sleeps=model.scheduling.sleep is not None,
            footprint=shares(model.scheduling.footprint),
            machine=schema.MachineFacts(**machine.facts(), gpus=gpus),
            hotseat=__version__,
        )

    # models, GPUs and history

    def stats(self) -> schema.StatsResponse:
        """``/stats``."""
        history = self._recorder.history
        return schema.StatsResponse(
            models={name: self.model(view) for name, view in self._control.views().items()},
            budget=shares(self.settings.scheduler.budget),
            gpus=[
                schema.GpuStatus(
                    device=gpu.device,
                    name=gpu.name,
                    total_mib=gpu.total_mib,
                    used_mib=gpu.used_mib,
                    busy_percent=gpu.busy_percent,
                )
                for gpu in self._devices()
            ],
            failures=[
                schema.FailureEntry(**asdict(failure) | {"at": iso(failure.at)})
                for failure in history.failures(INCIDENTS)
            ],
            swaps=[
                schema.SwapEntry(at=iso(swap.at), from_model=swap.old, to_model=swap.new)
                for swap in history.swaps(INCIDENTS)
            ],
            unusable_runtimes=dict(self._control.unusable()),
            since=iso(self._began_at),
        )

    def model(self, view: ModelView) -> schema.ModelStatus:
        """One model."""
        control, now = self._control, self._control.now()
        counts = self._recorder.metrics.models.get(view.model)
        moved = self._recorder.last_move(view.model) is not None
        retry_in_s = None if view.backoff_until is None else max(0.0, view.backoff_until - now)
        return schema.ModelStatus(
            state=str(view.state),
            run=view.run,
            phase=control.phase(view.model),
            eta_s=_rounded(control.eta_s(view.model)),
            since=self._at(view.since) if moved else iso(self._began_at),
            last_move=self._last_move(view.model),
            in_flight=view.in_flight,
            waiting=view.waiting,
            requested=view.requested,
            requests=control.requests(view.model),
            tokens_in=counts.tokens_in if counts else 0,
            tokens_out=counts.tokens_out if counts else 0,
            minutes=self._minutes(view.model),
            starts=view.starts,
            spin_up_s=[round(s, 3) for s in control.spin_ups(view.model)],
            last_hit=None if view.last_used is None else self._at(view.last_used),
            idle_stops=view.idle_stops,
            evictions=view.evictions,
            failures=view.failures,
            retry_in_s=_rounded(retry_in_s),
            footprint=shares(view.footprint),
            last_error=_reason(view),
            outdated=self._outdated.get(view.model),
            tokens_under_way=self._tokens_under_way(view.model),
        )

    def _last_move(self, model: str) -> schema.Transition | None:
        move = self._recorder.last_move(model)
        return None if move is None else schema.Transition(**asdict(move) | {"at": iso(move.at)})

    def _minutes(self, model: str) -> list[schema.MinuteStats]:
        since = int(self._wall_clock() // 60) - MINUTES
        return [
            schema.MinuteStats(
                at=iso(one.minute * 60),
                requests=one.requests,
                errors=one.errors,
                tokens_in=one.tokens_in,
                tokens_out=one.tokens_out,
            )
            for one in self._recorder.history.minutes(model, since)
        ]

    def _at(self, then: float) -> str:
        return iso(self._wall_clock() - (self._control.now() - then))

    def snapshot(self) -> MetricsSnapshot:
        """The gauges of ``/metrics``."""
        unusable = self._control.unusable()
        runtimes = {model.runtime for model in self.settings.models.values()}
        return MetricsSnapshot(
            views=self._control.views(),
            now=self._control.now(),
            wall_clock=self._wall_clock(),
            budget=self.settings.scheduler.budget,
            runtimes={name: name not in unusable for name in sorted(runtimes)},
            devices=self._devices(),
        )


def shares(footprint: Footprint) -> dict[str, float]:
    """Share of each device, from 0 to 1."""
    return {device: ppm / PPM for device, ppm in footprint.items()}


def iso(at: float) -> str:
    """Unix time as ISO 8601 in UTC, to the millisecond."""
    text = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def without_secrets(command: Sequence[str]) -> list[str]:
    """A command with ``***`` for the values of flags whose names speak of keys, tokens and passwords."""
    shown: list[str] = []
    hide_next = False
    for word in command:
        name, equals, _ = word.partition("=")
        if hide_next and not word.startswith("--"):
            shown.append("***")
            hide_next = False
            continue
        secret = is_secret_name(name)
        shown.append(f"{name}=***" if secret and equals else redact(word))
        hide_next = secret and not equals and word.startswith("-")
    return shown


def _reason(view: ModelView, *, lines: bool = True) -> schema.FailureReason | None:
    reason = view.reason
    if reason is None:
        return None
    if not lines:
        return schema.FailureReason(summary=reason.summary, hint=reason.hint)
    return schema.FailureReason(
        summary=reason.summary,
        hint=reason.hint,
        exit_code=reason.exit_code,
        signal=reason.signal,
        oom=reason.oom,
        lines=list(reason.lines),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
