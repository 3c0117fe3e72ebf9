"""Options and errors that the commands about the stack share."""

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
    """A file of the stack, or a name in it, that makes no sense."""

    exit_code = int(ExitCode.USAGE)


def stack_option(function: _F) -> _F:
    """``--stack DIR``: where docker-compose.yml, hotseat.yaml and .env lie."""
    return click.option(
        "--stack",
        "folder",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=Path(),
        show_default="this folder",
        help="The folder with docker-compose.yml, hotseat.yaml and .env.",
    )(function)


def in_folder(folder: Path) -> str:
    """What stands before a command that is to be typed in this folder."""
    return "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "


def read_stack(folder: Path, files: tuple[Path, ...] = ()) -> ComposeReading:
    """The Compose project of a folder, or of files. Raises ``StackUnreadable``."""
    try:
        chosen = list(files) or compose_files(folder, stack_environment(folder, os.environ))
        return read_project(chosen, os.environ)
    except ComposeFileError as error:
        raise StackUnreadable(str(error)) from None


def read_settings(file: Path, folder: Path) -> Settings:
    """The configuration, with the folder's ``.env`` below the environment.

    Raises ``InvalidConfig`` and ``StackUnreadable``.
    """
    try:
        return load(file, stack_environment(folder, os.environ))
    except ConfigError as error:
        raise InvalidConfig(error) from None
    except ComposeFileError as error:
        raise StackUnreadable(str(error)) from None
