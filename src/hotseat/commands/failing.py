"""How a command ends when it cannot do what it was told."""

from __future__ import annotations

from typing import IO, Any

import click

from hotseat.commands import Exit
from hotseat.config.problems import ConfigError


class Failed(click.ClickException):
    """It was tried and did not work."""

    exit_code = int(Exit.FAILED)


class Unreachable(click.ClickException):
    """No launcher answers."""

    exit_code = int(Exit.UNREACHABLE)


class Interrupted(click.ClickException):
    """Ctrl-C before it was done."""

    exit_code = int(Exit.INTERRUPTED)

    def __init__(self, more: str = "") -> None:
        super().__init__(f"Interrupted.{' ' if more else ''}{more}")

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


class BadConfig(click.ClickException):
    """The configuration cannot be used; every problem on a line of its own."""

    exit_code = int(Exit.USAGE)

    def __init__(self, error: ConfigError) -> None:
        self.problems = error.problems
        super().__init__(str(error))

    def show(self, file: IO[Any] | None = None) -> None:
        for problem in self.problems:
            click.echo(str(problem), file=file, err=file is None)
        count = len(self.problems)
        click.echo(f"{count} problem{'' if count == 1 else 's'}.", file=file, err=file is None)
