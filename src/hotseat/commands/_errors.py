"""Errors that end a command, with their exit statuses."""

from __future__ import annotations

from typing import IO, Any

import click

from hotseat.commands import ExitCode
from hotseat.config.problems import ConfigError


class CommandFailed(click.ClickException):
    """The command did not succeed; exit status 1."""

    exit_code = int(ExitCode.FAILED)


class LauncherUnreachable(click.ClickException):
    """No launcher answers; exit status 3."""

    exit_code = int(ExitCode.UNREACHABLE)


class Interrupted(click.ClickException):
    """Ctrl-C before the command was done; exit status 130."""

    exit_code = int(ExitCode.INTERRUPTED)

    def __init__(self, more: str = "") -> None:
        super().__init__(f"Interrupted.{' ' if more else ''}{more}")

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


class InvalidConfig(click.ClickException):
    """The configuration is invalid; prints every problem on a line of its own. Exit status 2."""

    exit_code = int(ExitCode.USAGE)

    def __init__(self, error: ConfigError) -> None:
        self.problems = error.problems
        super().__init__(str(error))

    def show(self, file: IO[Any] | None = None) -> None:
        for problem in self.problems:
            click.echo(str(problem), file=file, err=file is None)
        number = len(self.problems)
        click.echo(f"{number} problem{'' if number == 1 else 's'}.", file=file, err=file is None)
