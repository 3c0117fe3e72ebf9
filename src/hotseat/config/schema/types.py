"""Kinds of values that several parts of the file share, each with its JSON schema."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import PlainValidator, WithJsonSchema

from hotseat.config.parsers import values
from hotseat.config_fields import TEXT_OR_NUMBER, schema

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
Count = Annotated[int, PlainValidator(values.count), schema("integer", "whole number", minimum=1)]
