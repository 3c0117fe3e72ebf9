"""``hotseat reload``: have the running launcher read its configuration again."""

from __future__ import annotations

import json

import click

from hotseat.commands import _client

_WORDS = {
    "added": "new",
    "removed": "gone, stopped when their requests have ended",
    "changed": "changed, restarted when idle (hotseat stop NAME: now)",
    "needs_restart": "taken over only when hotseat is restarted",
}


@click.command(
    "reload",
    epilog="""\\b
Examples:
  hotseat reload
  kill -HUP PID (the same; what comes of it is in the launcher's log)

Exit status: 0 done, 1 the configuration is not right and nothing was changed, 2 wrong usage,
3 no launcher answers.""",
)
@click.option("--json", "as_json", is_flag=True, help="Print the launcher's answer as JSON.")
@_client.options
def command(as_json: bool, url: str | None, config: str | None) -> None:
    """Have the running launcher read its configuration again.

    It reads the file that it was started with, and the one that HOTSEAT_ENV_FILE names. Models that
    are as they were run on, with their requests.
    """
    answer = _client.connect(url, config).post("/admin/reload", {})
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo("reloaded")
    for name, words in _WORDS.items():
        if names := answer.get(name):
            click.echo(f"{', '.join(map(str, names))}: {words}")
