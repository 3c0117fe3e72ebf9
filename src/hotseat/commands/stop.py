"""``hotseat stop``: stop a model now."""

from __future__ import annotations

import click

from hotseat.commands import _client, _orders


@click.command(
    "stop",
    epilog="""\b
Examples:
  hotseat stop chat
  hotseat stop chat --wait --timeout 120
  hotseat stop chat --sleep

Exit status: 0 done, 1 it did not work, 2 wrong usage, 3 no launcher answers.""",
)
@click.argument("name")
@click.option("--sleep", is_flag=True, help="Put it to sleep instead (a model with sleep configured).")
@_orders.options("Return when it is gone, or asleep.")
@_client.options
def command(
    name: str, sleep: bool, wait: bool, timeout_s: float, as_json: bool, url: str | None, config: str | None
) -> None:
    """Stop a model now.

    NAME is a route or a model. Requests that run are finished first, up to its drain timeout.
    The next request starts it again.
    """
    running = _client.connect(url, config)
    more = {"sleep": True} if sleep else {}
    _orders.order(running, "stop", name, wait=wait, timeout_s=timeout_s, as_json=as_json, **more)
