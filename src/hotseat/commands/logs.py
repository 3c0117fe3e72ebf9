"""``hotseat logs``: the latest log lines of a model's server."""

from __future__ import annotations

from contextlib import suppress

import click

from hotseat.admin.schema import LOG_LINES, LogsResponse
from hotseat.commands import _options
from hotseat.commands._client import path_segment
from hotseat.commands._output import echo_json, one_line


@click.command(
    "logs",
    epilog="""\b
Examples:
  hotseat logs chat
  hotseat logs chat -n 1000 | grep -i error
  hotseat logs -f chat

Exit status: 0 shown, 1 failed, 2 wrong usage, 3 no launcher answers.""",
)
@click.argument("name")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(LOG_LINES.least, LOG_LINES.most),
    default=LOG_LINES.default,
    show_default=True,
    help="Show at most this many past lines.",
)
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines, until Ctrl-C.")
@_options.launcher_options
@_options.json_option("the lines")
def command(name: str, lines: int, follow: bool, url: str | None, config: str | None, as_json: bool) -> None:
    """Print the latest log lines of a model's server.

    NAME is a model, a route or an alias. The lines are from its current run, or from the latest one if
    it is not running; with --follow, the lines of later runs come too.
    """
    running = _options.connect(url, config)
    path = f"/logs/{path_segment(name)}?lines={lines}"
    if follow:
        if as_json:
            raise click.UsageError("--follow and --json cannot be used together")
        with suppress(KeyboardInterrupt):
            for line in running.follow(f"{path}&follow=1"):
                click.echo(one_line(line.expandtabs()))
        return
    response = running.get(path, LogsResponse)
    if as_json:
        echo_json(response)
        return
    for line in response.lines:
        click.echo(one_line(line.expandtabs()))  # a server's output must not control this terminal
