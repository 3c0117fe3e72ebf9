"""The keys of Docker containers in the configuration file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hotseat.config_fields import ConfigModel, Names, Port

COMPOSE = "The Compose file, or a mapping with more, from which missing containers are created."


class ComposeConfig(ConfigModel):
    """The Compose project that defines a container."""

    file: str | None = Field(
        default=None, description="The Compose file, relative to this configuration file."
    )
    project: str | None = Field(
        default=None, description="Compose's project name. By default Compose chooses it."
    )
    profiles: Names = Field(default=(), description="Profiles to enable when the container is created.")
    service: str | None = Field(
        default=None,
        description="The container's service. By default the one with this `container_name`.",
    )


def _expand_compose(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


ComposeOrFile = Annotated[
    ComposeConfig, BeforeValidator(_expand_compose, json_schema_input_type=str | ComposeConfig)
]


class DockerKeys(ConfigModel):
    """Keys of a model that runs as a container."""

    container: str | None = Field(
        default=None, description="The Docker container to start instead of a program."
    )
    compose: ComposeOrFile | None = Field(default=None, description=COMPOSE)
    url: str | None = Field(
        default=None,
        description="Where hotseat reaches the container if neither its network nor its published port "
        "leads there: `http://10.0.0.5:8000`.",
    )
    port: Port | None = Field(
        default=None,
        description="The server's port inside the container. By default read from its command or image.",
    )


class DockerTopKeys(ConfigModel):
    """Keys that hold for all containers."""

    compose: ComposeOrFile | None = Field(default=None, description=COMPOSE)
