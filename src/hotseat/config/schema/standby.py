"""``standby:``, at the top of the file and on a model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from hotseat.config.schema.types import Size
from hotseat.config_fields import ConfigModel


class StandbyConfig(ConfigModel):
    """Starts that have their imports behind them when the GPU comes free."""

    mode: Annotated[
        Literal["off", "demand", "keep"] | None, BeforeValidator(lambda value: _mode_of_bool(value))
    ] = Field(
        default=None,
        description="`demand` starts a model as far as the GPU while its request waits for GPU memory; "
        "`keep` also does so after the model has left the GPU, for its next request; `off` does neither. The "
        "default is `demand` for vLLM servers and `off` for others, which must be programs on torch.",
    )
    host_memory: Size | None = Field(
        default=None,
        description="On a model: the host memory that it uses while it stands by, an estimate until hotseat "
        "has measured it. At the top of the file: the limit for all models together that stand by or sleep.",
    )
    reserve: Size | None = Field(
        default=None,
        description="At the top of the file: no model is prepared if less host memory than this would be "
        "available afterwards. The default is `2GiB`.",
    )


def _mode_of_bool(value: Any) -> Any:
    """Read the booleans for which YAML takes ``off`` and ``on``."""
    return {False: "off", True: "demand"}[value] if isinstance(value, bool) else value


def _expand_standby(value: Any) -> Any:
    return {"mode": value} if isinstance(value, bool | str) else value


StandbyOrMode = Annotated[
    StandbyConfig,
    BeforeValidator(
        _expand_standby, json_schema_input_type=Literal["off", "demand", "keep"] | bool | StandbyConfig
    ),
]
