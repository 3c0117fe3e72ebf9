"""Shared by ``start``, ``stop`` and ``switch``: their options, and sending the order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import click

from hotseat.admin.schema import ModelResponse, RoutesResponse, StartRequest, StatsResponse, StopRequest
from hotseat.commands._client import RESPONSE_TIMEOUT_S, LauncherClient, LauncherSilent
from hotseat.commands._describe import blocked_by, describe, is_queued
from hotseat.commands._errors import CommandFailed, Interrupted, LauncherUnreachable
from hotseat.commands._options import json_option
from hotseat.commands._output import echo_json

_Command = TypeVar("_Command", bound=Callable[..., Any])


def order_options(wait_help: str) -> Callable[[_Command], _Command]:
    """``--wait``, ``--timeout`` and ``--json``."""

    def add(command: _Command) -> _Command:
        wait = click.option("--wait", is_flag=True, help=wait_help)
        timeout = click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0, min_open=True),
            default=900.0,
            show_default=True,
            metavar="SECONDS",
            help="With --wait: stop waiting after this long. The launcher carries on.",
        )
        return wait(timeout(json_option("the launcher's response")(command)))

    return add


def start(running: LauncherClient, order: StartRequest, *, timeout_s: float, as_json: bool) -> None:
    """Order a start and print the model's state. Raises as ``_send`` does."""
    _send(running, "/admin/start", order, timeout_s, as_json)


def stop(running: LauncherClient, order: StopRequest, *, timeout_s: float, as_json: bool) -> None:
    """Order a stop and print the model's state. Raises as ``_send`` does."""
    _send(running, "/admin/stop", order, timeout_s, as_json)


def _send(
    running: LauncherClient, path: str, order: StartRequest | StopRequest, timeout_s: float, as_json: bool
) -> None:
    """Raises ``CommandFailed``, ``LauncherUnreachable`` and ``Interrupted``."""
    try:
        model = running.post(path, order, ModelResponse, timeout_s if order.wait else RESPONSE_TIMEOUT_S)
    except LauncherSilent as silent:
        if not order.wait:
            raise
        raise CommandFailed(_still(running, order, timeout_s) or silent.format_message()) from None
    except KeyboardInterrupt:
        raise Interrupted("The launcher carries on with the order.") from None
    if as_json:
        echo_json(model)
    else:
        click.echo(f"{model.model}: {describe(model, _blocker(running, model))}")


def _still(running: LauncherClient, order: StartRequest | StopRequest, timeout_s: float) -> str | None:
    """Return what the model is doing when the time to wait for it is over; ``None``: unknown."""
    with suppress(CommandFailed, LauncherUnreachable):
        models = running.get("/stats", StatsResponse).models
        routes = running.get("/routes", RoutesResponse).routes
        by_alias = (one.model for one in routes.values() if order.route in one.aliases)
        name = routes[order.route].model if order.route in routes else next(by_alias, order.route)
        if (model := models.get(name)) is not None:
            now = describe(model, blocked_by(name, models))
            return (
                f"{name} is still {now} after {timeout_s:g} s; the launcher carries on (see hotseat status)"
            )
    return None


def _blocker(running: LauncherClient, model: ModelResponse) -> str:
    if is_queued(model):
        with suppress(CommandFailed, LauncherUnreachable):  # the order itself has succeeded
            return blocked_by(model.model, running.get("/stats", StatsResponse).models)
    return ""
