"""``hotseat start``: start a model now."""

from __future__ import annotations

import click

from hotseat.admin.schema import StartRequest
from hotseat.commands import _options, _orders


@click.command(
    "start",
    epilog="""\b
Examples:
  hotseat start chat
  hotseat start chat --wait --timeout 120

Exit status: 0 done, 1 failed, 2 wrong usage, 3 no launcher answers.""",
)
@click.argument("name")
@_orders.order_options("Return when the model is ready, or with the reason why it did not start.")
@_options.launcher_options
def command(
    name: str, wait: bool, timeout_s: float, as_json: bool, url: str | None, config: str | None
) -> None:
    """Start a model now.

    NAME is a route, a model or an alias. A model in backoff is tried again at once. Without --wait, the
    command returns while the model is still loading.
    """
    order = StartRequest(route=name, wait=wait)
    _orders.start(_options.connect(url, config), order, timeout_s=timeout_s, as_json=as_json)
