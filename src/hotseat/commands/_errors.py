"""How a command ends when it cannot do what it was told."""

from __future__ import annotations

from typing import IO, Any

import click

from hotseat.commands import ExitCode
from hotseat.config.problems import ConfigError


class CommandFailed(click.ClickException):
    """It was tried and did not work."""

    exit_code = int(ExitCode.FAILED)


class LauncherUnreachable(click.ClickException):
    """No launcher answers."""

    exit_code = int(ExitCode.UNREACHABLE)


class Interrupted(click.ClickException):
    """Ctrl-C before it was done."""

    exit_code = int(ExitCode.INTERRUPTED)

    def __init__(self, more: str = "") -> None:
        super().__init__(f"Interrupted.{' ' if more else ''}{more}")

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


class InvalidConfig(click.ClickException):
    """The configuration cannot be used; every problem on a line of its own."""

    exit_code = int(ExitCode.USAGE)

    def __init__(self, error: ConfigError) -> None:
        self.problems = error.problems
        super().__init__(str(error))

    def show(self, file: IO[Any] | None = None) -> None:
        for problem in self.problems:
            click.echo(str(problem), file=file, err=file is None)
        count = len(self.problems)
        click.echo(f"{count} problem{'' if count == 1 else 's'}.", file=file, err=file is None)
