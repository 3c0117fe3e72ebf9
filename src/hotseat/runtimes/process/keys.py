"""The keys of plain processes in the configuration file."""

# ruff: noqa: TRY004 - a value of the wrong kind is bad input here, not a bug: always ValueError

from __future__ import annotations

import shlex
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from hotseat.config_fields import NUL_IN_TEXT, TEXT_OR_NUMBER, ConfigModel, schema, text_of


def command(value: object) -> tuple[str, ...]:
    """Parse a command: a list of words, or one line that is split as a shell splits words."""
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"cannot be split into words: {str(error).lower()}") from None
    elif isinstance(value, list):
        words = [text_of(word) for word in value]
    else:
        raise ValueError("expected a command: a list of words, or one line as in a shell")
    if not words or not words[0]:
        raise ValueError("a command needs at least a program to run")
    if any("\0" in word for word in words):
        raise ValueError(NUL_IN_TEXT)
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
            variables[name] = text_of("" if text is None else text)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return variables


Command = Annotated[
    tuple[str, ...],
    PlainValidator(command),
    WithJsonSchema(
        {
            "title": "list of words, or one line",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": TEXT_OR_NUMBER}}],
            "examples": [["vllm", "serve", "Qwen/Qwen2.5-Coder-3B-Instruct", "--port", "{port}"]],
        }
    ),
]
Environment = Annotated[
    dict[str, str],
    PlainValidator(environment),
    schema("object", "variables by name", additionalProperties={"type": [*TEXT_OR_NUMBER, "null"]}),
]


class ProcessKeys(ConfigModel):
    """Keys of a model that runs as a plain process."""

    command: Command | None = Field(
        default=None,
        description="The program to run: a list of words, or one line that is split as a shell splits words "
        "(no shell runs it). `{port}` stands for the port that hotseat has chosen.",
    )
    env: Environment = Field(
        default={},
        description="Environment variables for the program, in addition to hotseat's own (without its "
        "secrets). `{port}` works here, too.",
    )
    cwd: str | None = Field(
        default=None, description="The program's working directory, relative to this configuration file."
    )
