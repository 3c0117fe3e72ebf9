"""``gpu:``, and a model's share of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from hotseat.config.parsers import gpu
from hotseat.config_fields import TEXT_OR_NUMBER, ConfigModel, one_or_list

_SHARE = {"type": TEXT_OR_NUMBER, "title": "share of one GPU", "examples": [0.9]}
_SHARES = {"type": "object", "additionalProperties": _SHARE}
_DEVICE = {"type": ["string", "integer"], "title": "device"}

Share = Annotated[int, PlainValidator(gpu.positive_share), WithJsonSchema(_SHARE)]
Footprint = Annotated[
    int | dict[str, int],
    PlainValidator(gpu.footprint),
    WithJsonSchema({"title": "share of one GPU, or a share for each device", "anyOf": [_SHARE, _SHARES]}),
]
Devices = Annotated[
    tuple[str, ...], PlainValidator(gpu.devices), one_or_list("device or list of devices", _DEVICE)
]
Budgets = Annotated[
    dict[str, int] | tuple[str, ...],
    PlainValidator(gpu.budgets),
    WithJsonSchema(
        {
            "title": "list of devices, or a budget for each",
            "anyOf": [{"type": "array", "items": _DEVICE}, _SHARES],
        }
    ),
]


class GpuConfig(ConfigModel):
    """The GPU memory that all models together may use."""

    budget: Share = Field(
        default=900_000,
        description="The share of a GPU that all models together may use. Each running model's `footprint` "
        "counts against it.",
        json_schema_extra={"default": 0.9},
    )
    devices: Budgets | None = Field(
        default=None,
        description="For several GPUs: a list of devices (`[0, 1]`, each with the budget above), or a budget "
        "for each (`{0: 0.90, 1: 0.50}`). A device is an index as `nvidia-smi` counts, or a UUID (`GPU-…`, "
        "`MIG-…`). On a cluster, a pool and its number of GPUs (`{a100: 16}`): a `footprint` of 1 is one of "
        "them. By default there is one device, `0`.",
    )
