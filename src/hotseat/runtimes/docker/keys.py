"""The keys of Docker containers in the configuration file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hotseat.config_fields import ConfigModel, Int, Names

COMPOSE = "The Compose file (or a mapping with more) that containers are created from when they do not exist."


class ComposeConfig(ConfigModel):
    """The Compose project that knows how a container is made."""

    file: str | None = Field(default=None, description="The Compose file; relative to this file's folder.")
    project: str | None = Field(default=None, description="Compose's project name; by default Compose's own.")
    profiles: Names = Field(default=(), description="Profiles to switch on when the container is created.")
    service: str | None = Field(
        default=None,
        description="The service of the container; by default the one whose `container_name` it is.",
    )


def _compose_sugar(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


ComposeOrFile = Annotated[
    ComposeConfig, BeforeValidator(_compose_sugar, json_schema_input_type=str | ComposeConfig)
]


class DockerKeys(ConfigModel):
    """How a model is run as a container."""

    container: str | None = Field(
        default=None, description="The Docker container to start instead of a program."
    )
    compose: ComposeOrFile | None = Field(default=None, description=COMPOSE)
    url: str | None = Field(
        default=None,
        description="Where a container is reached, when neither its network nor its published port says so: "
        "`http://10.0.0.5:8000`.",
    )
    port: Int | None = Field(
        default=None,
        description="The port inside the container; by default read from its command or image.",
        json_schema_extra={"minimum": 1, "maximum": 65535},
    )


class DockerTopKeys(ConfigModel):
    """What holds for all containers."""

    compose: ComposeOrFile | None = Field(default=None, description=COMPOSE)
