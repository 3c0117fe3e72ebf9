"""``hotseat top``: what the launcher does, live."""

from __future__ import annotations

import sys

import click

from hotseat.commands import _client
from hotseat.commands._errors import CommandFailed


@click.command(
    "top",
    epilog="""\b
Keys:
  up, down   choose a model
  s, x       start it, stop it (answers that run are finished first)
  l          its logs; Escape goes back
  q          end

Exit status: 0 ended, 1 the extra or the terminal is missing, 2 wrong usage.""",
)
@_client.options
def command(url: str | None, config: str | None) -> None:
    """Watch the running launcher: models, queue, GPUs, tokens and failures.

    An admin key is taken from HOTSEAT_ADMIN_KEY, ADMIN_API_KEY or VLLM_API_KEY. Needs the extra top:
    pip install 'hotseat[top]'.
    """
    try:
        from hotseat.commands.top_app import TopApp
    except ImportError:
        raise CommandFailed("hotseat top needs a library more: pip install 'hotseat[top]'") from None
    running = _client.connect(url, config)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandFailed("hotseat top needs a terminal; hotseat status does not")
    TopApp(running).run()
