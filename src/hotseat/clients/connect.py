"""All clients' configurations at once, for a launcher's own configuration."""

from __future__ import annotations

from typing import Any

from hotseat.clients.formats import FORMATS
from hotseat.clients.offer import Offered, choose
from hotseat.core.spec import PPM, Footprint, Settings


def offered(settings: Settings) -> list[Offered]:
    """List the names that a launcher with these settings offers."""
    return [
        Offered(
            name=route.name,
            model=route.model,
            footprint=shares(settings.models[route.model].scheduling.footprint),
            default=route.name == settings.serve.default_route,
        )
        for route in settings.routes
    ]


def configurations(url: str, settings: Settings) -> list[dict[str, Any]]:
    """The configuration of every client for the launcher at ``url``; keys are references."""
    names = offered(settings)
    if not names:
        return []
    budget = shares(settings.scheduler.budget)
    made = []
    for name, form in FORMATS.items():
        choice = choose(url, names, budget, coding=form.coding)
        note = form.note.format(variable=choice.variable)
        made.append({"name": name, "title": form.title, "text": form.render(choice), "note": note})
    return made


def shares(footprint: Footprint) -> dict[str, float]:
    """Of each device, from 0 to 1."""
    return {device: ppm / PPM for device, ppm in footprint.items()}
