"""Types of configuration values that ``config`` and the runtimes' own keys share.

As in ``config.parsers``, each parser takes what YAML gave (``str``, ``int``, ``Decimal``, ``bool``, ``list``,
``dict``) and raises ``ValueError`` with a message for the operator. A message never repeats the value: it may
be a secret.
"""

# ruff: noqa: TRY004 - a value of the wrong kind is bad input here, not a bug: always ValueError

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator, WithJsonSchema

TEXT_OR_NUMBER = ["string", "number"]
MIN_PORT, MAX_PORT = 1, 65535
NUL_IN_TEXT = "text that is passed to a program cannot contain a NUL byte"


class ConfigModel(BaseModel):
    """A mapping in the file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def schema(kind: str | list[str], title: str, **more: Any) -> WithJsonSchema:
    """The JSON schema of a value; ``title`` names its kind on the reference page, in lower case."""
    return WithJsonSchema({"type": kind, "title": title, **more})


def one_or_list(title: str, item: dict[str, Any]) -> WithJsonSchema:
    """The JSON schema of one item or a list of items."""
    return WithJsonSchema({"title": title, "anyOf": [item, {"type": "array", "items": item}]})


def whole(value: object) -> int:
    """Parse a whole number of at most 18 digits."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("expected a whole number")
    return value


def port(value: object) -> int:
    """Parse a TCP port."""
    number = whole(value)
    if not MIN_PORT <= number <= MAX_PORT:
        raise ValueError(f"expected a port between {MIN_PORT} and {MAX_PORT}")
    return number


def text_of(value: object) -> str:
    """Parse a word of a command or the value of a variable: text, or a number as it was written."""
    if isinstance(value, bool):
        raise ValueError('put it in quotes ("true"), so that the exact text is clear')
    if isinstance(value, str | int | Decimal):
        text = str(value)
        if "\0" in text:
            raise ValueError(NUL_IN_TEXT)
        return text
    raise ValueError("expected text")


def names(value: object) -> tuple[str, ...]:
    """Parse one name or a list of names; none empty, none repeated."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ValueError("expected a name or a list of names (put a name that is a number in quotes)")
    if not all(name.strip() and name.isprintable() for name in listed):
        raise ValueError("a name must not be empty or contain control characters")
    if len(set(listed)) != len(listed):
        raise ValueError("the same name appears twice")
    return tuple(listed)


Int = Annotated[int, PlainValidator(whole), schema("integer", "whole number")]
Port = Annotated[int, PlainValidator(port), schema("integer", "port", minimum=MIN_PORT, maximum=MAX_PORT)]
Names = Annotated[
    tuple[str, ...], PlainValidator(names), one_or_list("name or list of names", {"type": "string"})
]
