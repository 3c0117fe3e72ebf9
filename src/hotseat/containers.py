"""What a container's own command says of its model: one truth, read where the operator wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hotseat.config.command import told
from hotseat.core.spec import ModelSpec, Settings
from hotseat.runtimes.base import KnowsCommands, Runtime

ASKED = ("footprint", "served_names", "lora_names", "max_in_flight", "stop_grace")
"""What may be left to the container (``ModelSpec.asks_container``)."""


async def as_they_are(settings: Settings, runtimes: Mapping[str, Runtime]) -> Settings:
    """The settings with what the containers say in place of what the configuration leaves open.

    Where a container cannot be asked now its model stays as it is: it takes the whole budget.
    """
    models = dict(settings.models)
    for name, model in settings.models.items():
        runtime = runtimes.get(model.runtime)
        if model.asks_container and isinstance(runtime, KnowsCommands):
            models[name] = await _as_it_is(model, runtime)
    seats = {name: model.seat for name, model in models.items()}
    return replace(settings, models=models, box=replace(settings.box, seats=seats))


async def _as_it_is(model: ModelSpec, runtime: KnowsCommands) -> ModelSpec:
    command = await runtime.command_of(model)
    if command is None:
        return model
    asked, says, seat = model.asks_container, told(command, model.engine), model.seat
    if "footprint" in asked and says.share is not None:
        seat = replace(seat, footprint=dict.fromkeys(seat.footprint, says.share))
    if "max_in_flight" in asked:
        seat = replace(seat, max_in_flight=says.max_in_flight)
    model = replace(model, seat=seat)
    if "served_names" in asked:
        model = replace(model, served_names=says.served_names)
    if "lora_names" in asked:
        model = replace(model, lora_names=says.lora_names)
    grace_s = await runtime.grace_of(model) if "stop_grace" in asked else None
    return model if grace_s is None else replace(model, stop_grace_s=grace_s)
