"""Giving the seat to one model by hand: which Compose commands that takes, as ``switch.sh`` runs them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hotseat.core.spec import Settings
from hotseat.stack.compose.model import ComposeModel, ComposeService


class SwitchError(Exception):
    """A name that leads to no container: what to write instead."""


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """What is stopped, and what is brought up."""

    stop: tuple[str, ...]
    profiles: tuple[str, ...]

    def commands(self) -> list[list[str]]:
        """The words after ``docker compose``, in order."""
        up = [word for profile in self.profiles for word in ("--profile", profile)]
        stop = [["stop", *self.stop]] if self.stop else []
        return [*stop, [*up, "up", "-d"]]


def plan(name: str, settings: Settings, project: ComposeModel) -> SwitchPlan:
    """The switch to a model, named by its route, an alias, its container or its profile.

    Raises ``SwitchError``.
    """
    services = _services(settings, project)
    chosen = _find(name, settings, services)
    if chosen is None:
        known = ", ".join(sorted(route.name for route in settings.routes if route.model in services))
        raise SwitchError(f"no model with a container is called {name}; there are {known or 'none'}")
    others = sorted(one.name for one in services.values() if one is not chosen)
    profiles = dict.fromkeys(("launcher", *chosen.profiles[:1]))
    return SwitchPlan(tuple(others), tuple(profiles))


def _services(settings: Settings, project: ComposeModel) -> dict[str, ComposeService]:
    """The services of models."""
    found: dict[str, ComposeService] = {}
    for model in settings.models.values():
        container = model.launch.container_name
        service = project.by_container(container) if container else None
        if service:
            found[model.name] = service
    return found


def _find(name: str, settings: Settings, services: dict[str, ComposeService]) -> ComposeService | None:
    for route in settings.routes:
        if name in (route.name, *route.aliases, route.path.strip("/")):
            return services.get(route.model)
    return services.get(name) or _first(services.values(), name)


def _first(services: Iterable[ComposeService], name: str) -> ComposeService | None:
    matching = [one for one in services if name in (one.name, one.container, *one.profiles)]
    return matching[0] if len(matching) == 1 else None
