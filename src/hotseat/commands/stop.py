"""``hotseat stop``: stop a model now."""

from __future__ import annotations

import click

from hotseat.admin.schema import StopRequest
from hotseat.commands import _options, _orders


@click.command(
    "stop",
    epilog="""\b
Examples:
  hotseat stop chat
  hotseat stop chat --wait --timeout 120
  hotseat stop chat --sleep

Exit status: 0 done, 1 failed, 2 wrong usage, 3 no launcher answers.""",
)
@click.argument("name")
@click.option("--sleep", is_flag=True, help="Put the model to sleep instead; its configuration needs sleep.")
@_orders.order_options("Return when the model has stopped, or is asleep.")
@_options.launcher_options
def command(
    name: str, sleep: bool, wait: bool, timeout_s: float, as_json: bool, url: str | None, config: str | None
) -> None:
    """Stop a model now.

    NAME is a route, a model or an alias. Running requests may finish, up to the model's drain timeout.
    The next request starts the model again.
    """
    order = StopRequest(route=name, wait=wait, sleep=sleep)
    _orders.stop(_options.connect(url, config), order, timeout_s=timeout_s, as_json=as_json)
