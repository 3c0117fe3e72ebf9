"""What the orders ``start`` and ``stop`` have in common."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import click

from hotseat.commands._client import ANSWER_TIMEOUT_S, LauncherClient
from hotseat.commands._errors import Interrupted
from hotseat.commands.status import describe

_Command = TypeVar("_Command", bound=Callable[..., Any])


def options(wait_help: str) -> Callable[[_Command], _Command]:
    """The options of an order."""

    def add(command: _Command) -> _Command:
        wait = click.option("--wait", is_flag=True, help=wait_help)
        timeout = click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0, min_open=True),
            default=900.0,
            show_default=True,
            metavar="SECONDS",
            help="With --wait: give up watching after so long (the order stands).",
        )
        as_json = click.option("--json", "as_json", is_flag=True, help="Print the launcher's answer as JSON.")
        return wait(timeout(as_json(command)))

    return add


def order(
    running: LauncherClient,
    verb: Literal["start", "stop"],
    name: str,
    *,
    wait: bool,
    timeout_s: float,
    as_json: bool,
    **more: bool,
) -> None:
    """Give the order (``more``: further fields) and say what came of it.

    Raises ``Failed``, ``Unreachable`` or ``Interrupted``.
    """
    try:
        answer = running.post(
            f"/admin/{verb}", {"route": name, "wait": wait, **more}, timeout_s if wait else ANSWER_TIMEOUT_S
        )
    except KeyboardInterrupt:
        raise Interrupted("The order stands.") from None
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        click.echo(f"{answer.get('model', name)}: {describe(answer)}")
