"""``compose:``, at the top of the file and on a model."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hotseat.config.schema.types import ConfigModel, Names


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
