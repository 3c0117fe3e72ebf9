"""The Compose commands that give the GPU to one model by hand, as in ``switch.sh``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hotseat.core.spec import Settings
from hotseat.stack.compose.model import ComposeModel, ComposeService


class SwitchError(Exception):
    """A name that belongs to no container; the message lists valid names."""


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """The services to stop and the profiles to start."""

    stop: tuple[str, ...]
    profiles: tuple[str, ...]

    def commands(self) -> list[list[str]]:
        """Arguments of ``docker compose``, one list for each call, in order."""
        up = [word for profile in self.profiles for word in ("--profile", profile)]
        stop = [["stop", *self.stop]] if self.stop else []
        return [*stop, [*up, "up", "-d"]]


def plan(name: str, settings: Settings, project: ComposeModel) -> SwitchPlan:
    """Plan the switch to a model, given the name of its route, alias, container or profile.

    Raises ``SwitchError``.
    """
    services = _services(settings, project)
    chosen = _find(name, settings, services)
    if chosen is None:
        known = ", ".join(sorted(route.name for route in settings.routes if route.model in services))
        raise SwitchError(f"no model with a container is called {name}; choose one of: {known or 'none'}")
    others = sorted(one.name for one in services.values() if one is not chosen)
    profiles = dict.fromkeys(("launcher", *chosen.profiles[:1]))
    return SwitchPlan(tuple(others), tuple(profiles))


def _services(settings: Settings, project: ComposeModel) -> dict[str, ComposeService]:
    """Compose services by the name of their model."""
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
