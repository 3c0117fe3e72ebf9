"""``hotseat switch``: give the seat to one model by hand."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click

from hotseat.commands.failing import Failed
from hotseat.commands.stack_options import CannotRead, read_settings, read_stack, stack_option
from hotseat.stack.reading import find_compose
from hotseat.stack.switching import SwitchError, plan


@click.command(
    "switch",
    epilog="""\b
Examples:
  hotseat switch coder --stack /srv/llm/compose
  hotseat switch q7b --dry-run

Exit status: 0 done, else Compose's own; 2 no such model.""",
)
@click.argument("name")
@stack_option
@click.option("--dry-run", is_flag=True, help="Only print the commands.")
def command(name: str, folder: Path, dry_run: bool) -> None:
    """Stop the other models of the stack, then bring up the launcher and the model NAME.

    NAME is a route, an alias, a container or a profile: coder, chat, q7b. Does what switch.sh does.
    Running answers of the other models are cut off after their container's grace period; a request for
    the model through the launcher waits for them instead.
    """
    settings = read_settings(folder / "hotseat.yaml", folder)
    try:
        switching = plan(name, settings, read_stack(folder).project)
    except SwitchError as error:
        raise CannotRead(str(error)) from None
    compose = find_compose(os.environ)
    if compose is None and not dry_run:
        raise Failed("there is no Compose v2 here: install the package docker-compose-plugin")
    words = list(compose.words) if compose else ["docker", "compose"]
    for more in switching.commands():
        click.echo(f"+ docker compose {shlex.join(more)}", err=True)
        if dry_run:
            continue
        done = subprocess.run([*words, *more], cwd=folder, check=False)
        if done.returncode:
            sys.exit(done.returncode)
