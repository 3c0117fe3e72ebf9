"""Types of configuration keys that ``config`` and the runtimes' own keys share.

Parsers take what YAML gave (text, ``int``, ``Decimal``, ``bool``, ``list``, ``dict``) and raise
``ValueError`` with words for a person. The message never repeats the value: it may be a secret.
"""

# ruff: noqa: TRY004 - a value of the wrong kind is bad input here, not a bug: always ValueError

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator, WithJsonSchema

TEXT_OR_NUMBER = ["string", "number"]


class ConfigModel(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def schema(kind: str | list[str], title: str, **more: Any) -> WithJsonSchema:
    """Return the JSON schema of a field; ``title`` is shown in the reference as the kind of its value."""
    return WithJsonSchema({"type": kind, "title": title, **more})


def whole(value: object) -> int:
    """A whole number of at most 18 digits."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("expected a whole number")
    return value


def text_of(value: object) -> str:
    """A word of a command or the value of a variable: text, or a number as it is written."""
    if isinstance(value, bool):
        raise ValueError('put it in quotes ("true"), so that it is clear which text is meant')
    if isinstance(value, str | int | Decimal):
        text = str(value)
        if "\0" in text:
            raise ValueError("text with a NUL byte cannot be given to a program")
        return text
    raise ValueError("expected text")


def names(value: object) -> tuple[str, ...]:
    """One name or a list of names, none empty, none twice."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ValueError("expected a name or a list of names (a number as a name goes in quotes)")
    if not all(name.strip() and name.isprintable() for name in listed):
        raise ValueError("a name is not empty and has no control characters")
    if len(set(listed)) != len(listed):
        raise ValueError("a name is there twice")
    return tuple(listed)


Int = Annotated[int, PlainValidator(whole), schema("integer", "whole number")]
Names = Annotated[
    tuple[str, ...],
    PlainValidator(names),
    WithJsonSchema(
        {
            "title": "name or list of names",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        }
    ),
]
