"""Value types that several parts of the file share, each with its parser and its JSON schema."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import PlainValidator, WithJsonSchema

from hotseat.config.parsers import booleans, numbers, sizes, times
from hotseat.config.parsers.secrets import secret
from hotseat.config_fields import TEXT_OR_NUMBER, schema

Duration = Annotated[
    float, PlainValidator(times.duration), schema(TEXT_OR_NUMBER, "duration", examples=["30m", "90s", 300])
]
PositiveDuration = Annotated[
    float,
    PlainValidator(times.positive_duration),
    schema(TEXT_OR_NUMBER, "duration", examples=["5m", "90s", 300]),
]
CommentInterval = Annotated[
    float,
    PlainValidator(times.comment_interval),
    schema(["string", "number", "boolean"], "duration, true or false", examples=["2s", "15s", False]),
]
AutoDuration = Annotated[
    float | Literal["auto"],
    PlainValidator(times.auto_duration),
    schema(TEXT_OR_NUMBER, "duration or auto", examples=["auto", "2m"]),
]
Size = Annotated[
    int, PlainValidator(sizes.size), schema(["string", "integer"], "size", examples=["32MiB", "64GiB"])
]
Number = Annotated[
    float, PlainValidator(numbers.positive_number), schema(TEXT_OR_NUMBER, "number", examples=[40, 2.5])
]
Bool = Annotated[bool, PlainValidator(booleans.flag), schema("boolean", "true or false")]
COUNT = {"type": "integer", "title": "whole number", "minimum": numbers.MIN_COUNT}
Count = Annotated[int, PlainValidator(numbers.count), WithJsonSchema(COUNT)]
Secret = Annotated[str, PlainValidator(secret), schema("string", "key")]
