"""``sleep:``, at the top of the file and on a model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from hotseat.config.parsers.numbers import SLEEP_LEVELS, sleep_level
from hotseat.config.schema.gpu import Footprint
from hotseat.config.schema.types import Duration, Size
from hotseat.config_fields import ConfigModel, schema

SleepLevel = Annotated[
    int, PlainValidator(sleep_level), schema("integer", "sleep level", enum=list(SLEEP_LEVELS))
]


class SleepConfig(ConfigModel):
    """vLLM's sleep mode: an idle model gives up its GPU memory without stopping and wakes in seconds."""

    level: SleepLevel | None = Field(
        default=None,
        description="`1` moves the weights to host memory (fastest to wake); `2` discards them. At the top "
        "of the file: the default of all models.",
    )
    idle: Duration | None = Field(
        default=None,
        description="A model that has slept this long is stopped. `0`, or left out: it sleeps until it is "
        "needed.",
    )
    host_memory: Size | None = Field(
        default=None,
        description="On a model: the host memory that it uses while it sleeps at level 1. At the top of the "
        "file: the limit for all sleeping models together; above it, the one that has slept longest is "
        "stopped.",
    )
    leftover: Footprint | None = Field(
        default=None,
        description="The share of the GPU that a sleeping model still uses. An estimate, used until hotseat "
        "has measured it.",
    )


def _expand_sleep(value: Any) -> Any:
    if isinstance(value, bool):
        return {"level": int(value)}
    return {"level": value} if isinstance(value, int) else value


SleepOrLevel = Annotated[
    SleepConfig, BeforeValidator(_expand_sleep, json_schema_input_type=Literal[1, 2] | bool | SleepConfig)
]
