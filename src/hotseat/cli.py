"""The command line. Commands are imported when they are used, so that ``hotseat --help`` is fast."""

from __future__ import annotations

import difflib
import importlib
import os
from typing import Any

import click

from hotseat import __version__
from hotseat.commands import COMMANDS


class LazyGroup(click.Group):
    """A group that imports a command of ``COMMANDS`` when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"hotseat.commands.{cmd_name.replace('-', '_')}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Commands: {', '.join(COMMANDS)}."
            ctx.fail(f"No such command: {name!r}. {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        from hotseat.commands import _terminal

        _terminal.prepare(os.environ)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            from hotseat.commands._errors import Interrupted

            raise Interrupted from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 no launcher answers, "
    "130 interrupted.",
)
@click.version_option(__version__, prog_name="hotseat", message="%(prog)s %(version)s")
def main(**_: Any) -> None:
    """One GPU, many models: starts the right server on the first request.

    \b
    hotseat check-config -c hotseat.yaml   check the configuration
    hotseat serve -c hotseat.yaml          run the launcher
    hotseat status                         show the models, in another terminal
    """
