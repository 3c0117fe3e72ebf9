"""``hotseat logs``: the last lines of a model's server."""

from __future__ import annotations

import json
from contextlib import suppress

import click

from hotseat.commands import _client
from hotseat.commands._table import one_line


@click.command(
    "logs",
    epilog="""\b
Examples:
  hotseat logs chat
  hotseat logs chat -n 1000 | grep -i error
  hotseat logs -f chat

Exit status: 0 shown, 1 the launcher refused, 2 wrong usage, 3 no launcher answers.""",
)
@click.argument("name")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="How many lines at most.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what it writes, until Ctrl-C.")
@_client.options
@click.option("--json", "as_json", is_flag=True, help="Print the lines as JSON.")
def command(name: str, lines: int, follow: bool, url: str | None, config: str | None, as_json: bool) -> None:
    """Print the last lines that a model's server wrote.

    NAME is a model or a route. The lines are those of its current run, or of its latest one; with
    --follow the lines of the runs after it come too.
    """
    running = _client.connect(url, config)
    if follow:
        if as_json:
            raise click.UsageError("--follow prints lines as they come, not JSON")
        with suppress(KeyboardInterrupt):
            for line in running.follow(f"/logs/{_client.segment(name)}?lines={lines}&follow=1"):
                click.echo(one_line(line.expandtabs()))
        return
    answer = running.get(f"/logs/{_client.segment(name)}?lines={lines}")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    for line in answer.get("lines", []):
        click.echo(one_line(str(line).expandtabs()))  # a server's output does not steer this terminal
