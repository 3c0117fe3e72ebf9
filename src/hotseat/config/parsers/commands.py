"""Commands and their environment variables."""

# ruff: noqa: TRY004 - a value of the wrong kind is bad input here, not a bug: always ValueError

from __future__ import annotations

import shlex
from decimal import Decimal

_NUL = "text that is passed to a program cannot contain a NUL byte"


def command(value: object) -> tuple[str, ...]:
    """Parse a command: a list of words, or one line that is split as a shell splits words."""
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"cannot be split into words: {str(error).lower()}") from None
    elif isinstance(value, list):
        words = [_text(word) for word in value]
    else:
        raise ValueError("expected a command: a list of words, or one line as in a shell")
    if not words or not words[0]:
        raise ValueError("a command needs at least a program to run")
    if any("\0" in word for word in words):
        raise ValueError(_NUL)
    return tuple(words)


def environment(value: object) -> dict[str, str]:
    """Parse environment variables and their values by name."""
    if not isinstance(value, dict):
        raise ValueError("expected variables as NAME: value lines")
    variables = {}
    for name, text in value.items():
        if not name or "=" in name or "\0" in name:
            raise ValueError("a variable's name must not be empty or contain =")
        try:
            variables[name] = _text("" if text is None else text)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return variables


def _text(value: object) -> str:
    """Text, or a number as it was written."""
    if isinstance(value, bool):
        raise ValueError('put it in quotes ("true"), so that the exact text is clear')
    if isinstance(value, str | int | Decimal):
        text = str(value)
        if "\0" in text:
            raise ValueError(_NUL)
        return text
    raise ValueError("expected text")
