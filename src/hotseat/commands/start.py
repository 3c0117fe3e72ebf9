"""``hotseat start``: start a model now."""

from __future__ import annotations

import click

from hotseat.commands import _client, _orders


@click.command(
    "start",
    epilog="""\b
Examples:
  hotseat start chat
  hotseat start chat --wait --timeout 120

Exit status: 0 done, 1 it did not work, 2 wrong usage, 3 no launcher answers.""",
)
@click.argument("name")
@_orders.options("Return when it is ready, or say why it is not.")
@_client.options
def command(
    name: str, wait: bool, timeout_s: float, as_json: bool, url: str | None, config: str | None
) -> None:
    """Start a model now.

    NAME is a route or a model. A model in backoff is tried again at once. Without --wait the
    answer comes while it still loads.
    """
    running = _client.connect(url, config)
    _orders.order(running, "start", name, wait=wait, timeout_s=timeout_s, as_json=as_json)
