"""``hotseat capture``: record a model's prompts and answers in a file for a limited time."""

from __future__ import annotations

import click

from hotseat.admin.schema import CAPTURE_SECONDS, CaptureRequest, CaptureResponse
from hotseat.commands import _options
from hotseat.commands._output import echo_json


@click.command(
    "capture",
    epilog="""\b
Examples:
  hotseat capture chat --for 120
  hotseat capture chat --stop
  jq -r .request /var/lib/hotseat/captures/chat.jsonl

Exit status: 0 done, 1 failed, 2 wrong usage, 3 no launcher answers.""",
)
@click.argument("name")
@click.option(
    "--for",
    "seconds",
    type=click.IntRange(max(1, CAPTURE_SECONDS.least), CAPTURE_SECONDS.most),
    default=CAPTURE_SECONDS.default,
    show_default=True,
    metavar="SECONDS",
    help="Capture for this long.",
)
@click.option("--stop", is_flag=True, help="End the capture now.")
@_options.json_option("the launcher's response")
@_options.launcher_options
def command(name: str, seconds: int, stop: bool, as_json: bool, url: str | None, config: str | None) -> None:
    """Record a model's prompts and answers in a file for a limited time.

    For debugging: hotseat keeps prompts and answers nowhere else. NAME is a route or a model. The file is
    created on the launcher's machine, readable by the launcher's user alone, without headers and
    credentials. It grows to at most 64 MiB and stays until the model's next capture or until you delete it.
    """
    order = CaptureRequest(route=name, seconds=0 if stop else seconds)
    response = _options.connect(url, config).post("/admin/capture", order, CaptureResponse)
    if as_json:
        echo_json(response)
    elif response.capturing:
        click.echo(f"{response.model}: CAPTURING prompts and answers until {response.until}")
        click.echo(f"to {response.file}")
    elif response.file:
        click.echo(f"{response.model}: capture ended, {response.requests} requests in {response.file}")
    else:
        click.echo(f"{response.model}: nothing was captured")
