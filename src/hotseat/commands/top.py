"""``hotseat top``: the running launcher, live."""

from __future__ import annotations

import sys

import click

from hotseat.commands import _options
from hotseat.commands._errors import CommandFailed
from hotseat.installation import install_extra


@click.command(
    "top",
    epilog="""\b
Keys:
  up, down   select a model
  s, x       start it, stop it (running requests may finish)
  l          show its log; Escape goes back
  q          quit

Exit status: 0 quit, 1 the package or the terminal is missing, 2 wrong usage.""",
)
@_options.launcher_options
def command(url: str | None, config: str | None) -> None:
    """Watch the running launcher: models, queue, GPUs, tokens and failures.

    Reads an admin key from HOTSEAT_ADMIN_KEY, ADMIN_API_KEY or VLLM_API_KEY. Needs the extra `top`.
    """
    try:
        from hotseat.commands.top_app import TopApp
    except ImportError:
        raise CommandFailed(f"hotseat top needs an extra package: {install_extra('top')}") from None
    running = _options.connect(url, config)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandFailed("hotseat top needs a terminal; use hotseat status instead")
    TopApp(running).run()
