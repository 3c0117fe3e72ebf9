"""Options and errors that the commands for a stack share."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hotseat.commands import ExitCode
from hotseat.commands._errors import InvalidConfig
from hotseat.config import ConfigError, load
from hotseat.core.spec import Settings
from hotseat.stack.compose.compose_file import ComposeFileError
from hotseat.stack.compose.reading import ComposeReading, compose_files, read_project, stack_environment

_F = TypeVar("_F", bound=Callable[..., Any])


class StackUnreadable(click.ClickException):
    """A file of the stack cannot be read, or does not have the name; exit status 2."""

    exit_code = int(ExitCode.USAGE)


def stack_option(function: _F) -> _F:
    """``--stack DIR``: the folder with docker-compose.yml, hotseat.yaml and .env."""
    return click.option(
        "--stack",
        "folder",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=Path(),
        show_default="this folder",
        help="The folder with docker-compose.yml, hotseat.yaml and .env.",
    )(function)


def in_folder(folder: Path) -> str:
    """Prefix for a command that is to be run in this folder."""
    return "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "


def read_stack(folder: Path, files: tuple[Path, ...] = ()) -> ComposeReading:
    """Read the Compose project of a folder, or of files. Raises ``StackUnreadable``."""
    try:
        chosen = list(files) or compose_files(folder, stack_environment(folder, os.environ))
        return read_project(chosen, os.environ)
    except ComposeFileError as error:
        raise StackUnreadable(str(error)) from None


def read_settings(file: Path, folder: Path) -> Settings:
    """Read the configuration, with variables from the environment and then from the folder's ``.env``.

    Raises ``InvalidConfig`` and ``StackUnreadable``.
    """
    try:
        return load(file, stack_environment(folder, os.environ))
    except ConfigError as error:
        raise InvalidConfig(error) from None
    except ComposeFileError as error:
        raise StackUnreadable(str(error)) from None
