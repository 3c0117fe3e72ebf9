"""``hotseat capture``: write a model's prompts and answers to a file, for a while."""

from __future__ import annotations

import json

import click

from hotseat.commands import _client


@click.command(
    "capture",
    epilog="""\b
Examples:
  hotseat capture chat --for 120
  hotseat capture chat --stop
  jq -r .request /var/lib/hotseat/captures/chat.jsonl

Exit status: 0 done, 1 it did not work, 2 wrong usage, 3 no launcher answers.""",
)
@click.argument("name")
@click.option(
    "--for",
    "seconds",
    type=click.IntRange(1, 3600),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long, an hour at most.",
)
@click.option("--stop", is_flag=True, help="End it now.")
@click.option("--json", "as_json", is_flag=True, help="Print the launcher's answer as JSON.")
@_client.options
def command(name: str, seconds: int, stop: bool, as_json: bool, url: str | None, config: str | None) -> None:
    """Write what a model is asked and answers to a file, for a while.

    For debugging: prompts and answers are kept nowhere else. NAME is a route or a model. The file is made
    on the launcher's machine, readable for its user alone, without headers and credentials; it takes
    64 MiB at most, and stays until the next capture of the model or until you remove it.
    """
    answer = _client.connect(url, config).post(
        "/admin/capture", {"route": name, "seconds": 0 if stop else seconds}
    )
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    elif answer.get("capturing"):
        click.echo(f"{answer['model']}: CAPTURING prompts and answers until {answer.get('until')}")
        click.echo(f"to {answer.get('file')}")
    elif answer.get("file"):
        click.echo(f"{answer['model']}: capture ended, {answer.get('requests')} requests in {answer['file']}")
    else:
        click.echo(f"{answer.get('model', name)}: nothing was captured")
