"""``models.NAME``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PlainValidator, model_validator

from hotseat.config.parsers import times, words
from hotseat.config.schema.gpu import Devices, Footprint
from hotseat.config.schema.inherited import InheritedSettings
from hotseat.config.schema.launch import DEFAULT_RUNTIME, ModelLaunchKeys, RuntimeName
from hotseat.config.schema.route import PublicConfig
from hotseat.config.schema.service_levels import ServiceLevels
from hotseat.config.schema.sleep import SleepOrLevel
from hotseat.config.schema.standby import StandbyOrMode
from hotseat.config.schema.types import Bool, Count
from hotseat.config_fields import Int, Names, one_or_list
from hotseat.core.spec import KeepWarmSpan
from hotseat.engines.abilities import CAPABILITIES

WarmSpans = Annotated[
    tuple[KeepWarmSpan, ...],
    PlainValidator(times.warm_spans),
    one_or_list("time span or list of time spans", {"type": "string", "examples": ["Mon-Fri 08:00-18:00"]}),
]

Capabilities = Annotated[
    tuple[str, ...],
    PlainValidator(words.capabilities),
    one_or_list("capability or list of capabilities", {"type": "string", "enum": list(CAPABILITIES)}),
]


def _without_inherited_defaults(made: dict[str, Any]) -> None:
    """Remove defaults that hold at the top of the file only: on a model the default is what stands there."""
    for name in InheritedSettings.model_fields:
        made["properties"][name].pop("default", None)


class ModelConfig(PublicConfig, InheritedSettings, ModelLaunchKeys):
    """One model: a server that hotseat starts and stops."""

    model_config = ConfigDict(json_schema_extra=_without_inherited_defaults)

    runtime: RuntimeName | None = Field(
        default=None,
        description=f"How the model runs. By default {DEFAULT_RUNTIME}.",
    )
    engine: Literal["vllm", "openai"] | None = Field(
        default=None, description="The kind of server. By default recognised from the command."
    )
    lora: Names = Field(
        default=(),
        description="LoRA adapters that the server has loaded; clients name them in `model`. By default read "
        "from `--lora-modules` in the command.",
    )
    served_name: Names | None = Field(
        default=None,
        description="The model names that the server itself accepts, the preferred one first. By default "
        "read from the command.",
    )
    upstream_key: str | None = Field(
        default=None,
        description="The key that hotseat sends to the server, as `${VARIABLE}`. By default the one that the "
        "server's own command or variables name (`--api-key`, `VLLM_API_KEY`, `LLAMA_API_KEY`), else "
        "`UPSTREAM_API_KEY` from the environment, else `VLLM_API_KEY`. An empty text sends none.",
    )
    health: str = Field(default="/health", description="The path that answers 200 once the server is ready.")
    allow_paths: Names = Field(
        default=(), description="Paths that clients may use in addition to the usual ones, such as `/ping`."
    )
    context: Count | None = Field(
        default=None,
        description="The context length that clients are told, in tokens. By default `--max-model-len` (or "
        "`--ctx-size`, `--context-length`) from the command.",
    )
    capabilities: Capabilities = Field(
        default=(),
        description="What the model can do, for clients that ask: `chat`, `completions`, `tools`, `vision`, "
        "`reasoning`, `embeddings`, `rerank`, `classification`, `transcription`, `speech`. By default as its "
        "command tells. Models that can do other things, but not `chat`, are not offered for chat.",
    )
    footprint: Footprint | None = Field(
        default=None,
        description="The share of the GPU that the model uses while it runs, or a share for each device. By "
        "default `--gpu-memory-utilization` from the command, else the whole budget.",
    )
    devices: Devices | None = Field(
        default=None,
        description="The devices from `gpu.devices` that the model runs on; a program is shown these "
        "(`CUDA_VISIBLE_DEVICES`), and a container must be given them. By default all.",
    )
    max_in_flight: Count | None = Field(
        default=None,
        description="How many requests the server gets at once; others wait in hotseat's queue. By default "
        "`--max-num-seqs` from the command, else unlimited.",
    )
    priority: Int = Field(
        default=0, description="Requests for a model with a higher priority are scheduled first."
    )
    pinned: Bool = Field(
        default=False, description="Never stop this model to make room for another, or because it is idle."
    )
    preload: Bool = Field(
        default=False,
        description="Start this model without waiting for a request whenever there is room, and keep it "
        "running.",
    )
    keep_warm: WarmSpans | None = Field(
        default=None,
        description="Treat this model as with `preload` at these times: `Mon-Fri 08:00-18:00`, or a list of "
        "such time spans, in the time zone set by `timezone`.",
    )
    sleep: SleepOrLevel | None = Field(
        default=None,
        description="Let this model sleep instead of stopping it: `1`, `2`, `false`, or a mapping.",
    )
    standby: StandbyOrMode | None = Field(
        default=None,
        description="When this model is started as far as the GPU before its turn: `off`, `demand`, `keep`, "
        "or a mapping.",
    )
    slo: ServiceLevels | None = Field(
        default=None,
        description="This model's own service levels. Those left out are taken from the top of the file.",
    )

    @model_validator(mode="before")
    @classmethod
    def _null_means_inherited(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        names = InheritedSettings.model_fields
        return {key: value for key, value in data.items() if value is not None or key not in names}
