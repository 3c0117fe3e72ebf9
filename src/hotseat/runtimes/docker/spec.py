"""Launch of a model as a Docker container."""

from __future__ import annotations

from dataclasses import dataclass

from hotseat.core.spec import ComposeSpec, LaunchSpec, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSpec(LaunchSpec):
    """A model that is a container."""

    container: str
    compose: ComposeSpec | None = None
    url: str | None = None
    """Where it is reached, when neither its network nor its published port says so."""
    port: int | None = None
    """Its port inside the container; ``None``: from its command or image (8000 at last)."""
    devices: tuple[str, ...] | None = None
    """GPU devices that it must be given, and no others; ``None``: as it was created."""
    every_device: bool = True
    """Whether these are all configured devices."""

    @property
    def target(self) -> str:
        """The container's name."""
        return self.container

    def describe(self) -> str:
        """Return ``container NAME``."""
        return f"container {self.container}"

    @property
    def container_name(self) -> str:
        """The container's name."""
        return self.container

    @property
    def compose_project(self) -> ComposeSpec | None:
        """The Compose project that creates it."""
        return self.compose


def docker_spec(model: ModelSpec) -> DockerSpec:
    """Return the launch of a model of this runtime. Raises ``TypeError`` for a model of another one."""
    if not isinstance(model.launch, DockerSpec):
        raise TypeError(f"{model.name} is not launched by docker: {type(model.launch).__name__}")
    return model.launch
