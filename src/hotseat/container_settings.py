"""Settings that the configuration leaves open, read from the command of a model's own container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hotseat.config.command_info import read_command
from hotseat.config.secrets import one_of
from hotseat.core.spec import ModelSpec, Settings
from hotseat.engines import flags
from hotseat.engines.pick import engine_named
from hotseat.logs import hide
from hotseat.runtimes.base import ReportsCommands, ReportsMounts, Runtime

ASKED = (
    "footprint",
    "served_names",
    "lora_names",
    "max_in_flight",
    "context",
    "capabilities",
    "stop_grace",
    "upstream_key",
)
"""Settings that may be read from the container (``ModelSpec.asks_container``)."""


async def with_container_settings(
    settings: Settings, runtimes: Mapping[str, Runtime], known: Settings | None = None
) -> Settings:
    """Return the settings, with what the configuration leaves open filled in from the containers.

    A container whose command is not known at the moment keeps what it had before (``known``); one whose
    command was never known takes the whole budget.
    """
    models = dict(settings.models)
    for name, model in settings.models.items():
        runtime = runtimes.get(model.runtime)
        if model.asks_container and isinstance(runtime, ReportsCommands):
            last = known.models.get(name) if known is not None else None
            models[name] = await _from_container(model, runtime, last)
    seats = {name: model.scheduling for name, model in models.items()}
    return replace(settings, models=models, scheduler=replace(settings.scheduler, models=seats))


async def _from_container(model: ModelSpec, runtime: ReportsCommands, last: ModelSpec | None) -> ModelSpec:
    command = await runtime.command_of(model)
    if command is None:
        same = last is not None and last.launch == model.launch
        return _from_last_answer(model, last) if last is not None and same else model
    asked, says, seat = model.asks_container, read_command(command, model.engine), model.scheduling
    if "footprint" in asked and says.share is not None:
        seat = replace(seat, footprint=dict.fromkeys(seat.footprint, says.share))
    if "max_in_flight" in asked:
        seat = replace(seat, max_in_flight=says.max_in_flight)
    model = replace(model, scheduling=seat)
    if "served_names" in asked:
        model = replace(model, served_names=says.served_names)
    if "lora_names" in asked:
        model = replace(model, lora_names=says.lora_names)
    if "context" in asked:
        model = replace(model, context=says.context)
    if "capabilities" in asked:
        model = replace(model, capabilities=says.capabilities)
    if "upstream_key" in asked and (keys := await _server_keys(model, runtime, command)):
        hide(*keys)
        model = replace(model, upstream_key=one_of(keys, model.upstream_key))
    grace_s = await runtime.grace_of(model) if "stop_grace" in asked else None
    return model if grace_s is None else replace(model, stop_grace_s=grace_s)


async def _server_keys(model: ModelSpec, runtime: ReportsCommands, command: Sequence[str]) -> tuple[str, ...]:
    """Return the keys that a container's server asks for."""
    mounts = await runtime.mounts_of(model) if isinstance(runtime, ReportsMounts) else None
    env = mounts.env if mounts else {}
    return flags.expanded(command, engine_named(model.engine).api_keys(command, env), env)


def _from_last_answer(model: ModelSpec, last: ModelSpec) -> ModelSpec:
    asked, seat = model.asks_container & last.asks_container, model.scheduling
    if "footprint" in asked and set(last.scheduling.footprint) == set(seat.footprint):
        seat = replace(seat, footprint=last.scheduling.footprint)
    if "max_in_flight" in asked:
        seat = replace(seat, max_in_flight=last.scheduling.max_in_flight)
    return replace(
        model,
        scheduling=seat,
        served_names=last.served_names if "served_names" in asked else model.served_names,
        lora_names=last.lora_names if "lora_names" in asked else model.lora_names,
        context=last.context if "context" in asked else model.context,
        capabilities=last.capabilities if "capabilities" in asked else model.capabilities,
        stop_grace_s=last.stop_grace_s if "stop_grace" in asked else model.stop_grace_s,
    )
