"""Value types that several parts of the file share, each with its parser and its JSON schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainValidator, WithJsonSchema

from hotseat.config.parsers import booleans, numbers, sizes, times
from hotseat.config.parsers.names import names
from hotseat.config.parsers.secrets import secret

TEXT_OR_NUMBER = ["string", "number"]


def schema(kind: str | list[str], title: str, **more: Any) -> WithJsonSchema:
    """The JSON schema of a value; ``title`` names its kind on the reference page, in lower case."""
    return WithJsonSchema({"type": kind, "title": title, **more})


def one_or_list(title: str, item: dict[str, Any]) -> WithJsonSchema:
    """The JSON schema of one item or a list of items."""
    return WithJsonSchema({"title": title, "anyOf": [item, {"type": "array", "items": item}]})


Duration = Annotated[
    float, PlainValidator(times.duration), schema(TEXT_OR_NUMBER, "duration", examples=["30m", "90s", 300])
]
PositiveDuration = Annotated[
    float,
    PlainValidator(times.positive_duration),
    schema(TEXT_OR_NUMBER, "duration", examples=["5m", "90s", 300]),
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
Int = Annotated[int, PlainValidator(numbers.whole), schema("integer", "whole number")]
COUNT = {"type": "integer", "title": "whole number", "minimum": numbers.MIN_COUNT}
Count = Annotated[int, PlainValidator(numbers.count), WithJsonSchema(COUNT)]
Port = Annotated[
    int,
    PlainValidator(numbers.port),
    schema("integer", "port", minimum=numbers.MIN_PORT, maximum=numbers.MAX_PORT),
]
Names = Annotated[
    tuple[str, ...], PlainValidator(names), one_or_list("name or list of names", {"type": "string"})
]
Secret = Annotated[str, PlainValidator(secret), schema("string", "key")]


class ConfigModel(BaseModel):
    """A mapping in the file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
