"""Generate the reference pages: ``python -m hotseat.commands.reference docs/reference``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from hotseat.admin import openapi
from hotseat.commands import COMMANDS
from hotseat.config import reference as config_reference
from hotseat.stack import lint as lint_rules
from hotseat.telemetry.metrics import catalogue

INTRODUCTION = """\
# Commands

`hotseat COMMAND --help` prints the same.

Exit status of all commands: 0 done, 1 failed, 2 wrong usage or invalid configuration, 3 no launcher answers,
130 interrupted.
"""


def commands_page() -> str:
    """``commands.md``: the help text of every command."""
    parts = [INTRODUCTION]
    for name, short in COMMANDS.items():
        command: click.Command = importlib.import_module(f"hotseat.commands.{name.replace('-', '_')}").command
        parts.append(_section(f"hotseat {name}", short, command))
        if isinstance(command, click.Group):
            for inner, one in command.commands.items():
                parts.append(_section(f"hotseat {name} {inner}", one.get_short_help_str(100), one))
    return "\n".join(parts)


def _section(name: str, short: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100, color=False)
    context.help_option_names = ["-h", "--help"]
    return f"## {name}\n\n{short}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"


def pages() -> Mapping[str, str]:
    """Every generated page of ``docs/reference``, by file name."""
    return {
        "commands.md": commands_page(),
        "config.md": config_reference.markdown(),
        "config.schema.json": config_reference.schema_text(),
        "endpoints.md": openapi.reference(),
        "lint.md": lint_rules.reference(),
        "metrics.md": catalogue.reference(),
    }


def main() -> None:
    """Write the pages into the folder given as an argument."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
