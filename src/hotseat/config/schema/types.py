"""Kinds of values that several parts of the file share, each with its JSON schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainValidator, WithJsonSchema

from hotseat.config.parsers import values

TEXT_OR_NUMBER = ["string", "number"]


def schema(kind: str | list[str], description: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, "title": description, **more})


Duration = Annotated[
    float, PlainValidator(values.duration), schema(TEXT_OR_NUMBER, "duration", examples=["30m", "90s", 300])
]
PositiveDuration = Annotated[
    float,
    PlainValidator(values.positive_duration),
    schema(TEXT_OR_NUMBER, "duration", examples=["5m", "90s", 300]),
]
AutoDuration = Annotated[
    float | Literal["auto"],
    PlainValidator(values.auto_duration),
    schema(TEXT_OR_NUMBER, "duration or auto", examples=["auto", "2m"]),
]
Size = Annotated[
    int, PlainValidator(values.size), schema(["string", "integer"], "size", examples=["32MiB", "64GiB"])
]
Number = Annotated[
    float, PlainValidator(values.positive_number), schema(TEXT_OR_NUMBER, "number", examples=[40, 2.5])
]
Seed = Annotated[
    bool,
    PlainValidator(values.seed),
    WithJsonSchema({"title": "auto or off", "enum": ["auto", "off", False]}),
]
Bool = Annotated[bool, PlainValidator(values.flag), schema("boolean", "true or false")]
Int = Annotated[int, PlainValidator(values.whole), schema("integer", "whole number")]
Count = Annotated[int, PlainValidator(values.count), schema("integer", "whole number", minimum=1)]
Names = Annotated[
    tuple[str, ...],
    PlainValidator(values.names),
    WithJsonSchema(
        {
            "title": "name or list of names",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        }
    ),
]


class ConfigModel(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
