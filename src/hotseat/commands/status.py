"""``hotseat status``: the models and their states."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from contextlib import suppress

import click
from msgspec import UNSET

from hotseat.admin.schema import (
    CaptureStatus,
    HealthResponse,
    ModelStatus,
    RoutesResponse,
    RouteStatus,
    StatsResponse,
)
from hotseat.commands import _options
from hotseat.commands._client import LauncherClient
from hotseat.commands._describe import ago, blocked_by, describe, outdated_line
from hotseat.commands._errors import CommandFailed, LauncherUnreachable
from hotseat.commands._output import echo_json, one_line, table
from hotseat.commands._terminal import coloured

WATCH_EVERY_S = 2.0


@click.command(
    "status",
    epilog="""\b
Examples:
  hotseat status
  hotseat status --url http://gpu-box:8000
  hotseat status --json | jq -r '.models | to_entries[] | select(.value.state == "ready") | .key'

Exit status: 0 shown, 1 failed, 2 wrong usage, 3 no launcher answers.""",
)
@_options.launcher_options
@_options.json_option("routes and models")
@click.option("-w", "--watch", is_flag=True, help="Refresh every two seconds, until Ctrl-C.")
def command(url: str | None, config: str | None, as_json: bool, watch: bool) -> None:
    """Show the models of the running launcher.

    Reads an admin key from HOTSEAT_ADMIN_KEY, ADMIN_API_KEY or VLLM_API_KEY.
    """
    running = _options.connect(url, config)
    if not watch:
        _show(running, as_json)
        return
    with suppress(KeyboardInterrupt):
        while True:
            click.clear()
            try:
                _show(running, as_json)
            except (CommandFailed, LauncherUnreachable) as error:  # the launcher may come back
                click.echo(error.format_message())
            time.sleep(WATCH_EVERY_S)


def _show(running: LauncherClient, as_json: bool) -> None:
    routes = running.get("/routes", RoutesResponse).routes
    models = running.get("/stats", StatsResponse).models
    unusable = running.get("/healthz", HealthResponse, also=503).runtimes or {}
    if as_json:
        echo_json({"url": running.url, "routes": routes, "models": models, "unusable_runtimes": unusable})
        return
    click.echo(render(running.url, routes, models, datetime.datetime.now(datetime.UTC)))
    for model, capture in _captures(routes).items():
        click.echo(f"\nCAPTURING {model} until {capture.until}: prompts and answers go to {capture.file}")
    for runtime, why in unusable.items():
        click.echo(f"\nRuntime {runtime} cannot be used: {one_line(why)}")


def _captures(routes: Mapping[str, RouteStatus]) -> dict[str, CaptureStatus]:
    return {route.model: route.capture for route in routes.values() if route.capture is not UNSET}


def render(
    url: str, routes: Mapping[str, RouteStatus], models: Mapping[str, ModelStatus], now: datetime.datetime
) -> str:
    """The table of models, and below it why models failed."""
    paths: dict[str, list[str]] = {}
    for route in routes.values():
        paths.setdefault(route.model, []).append(route.path + (" (default)" if route.default else ""))
    rows = [
        [
            name,
            describe(model, blocked_by(name, models)),
            str(model.in_flight),
            str(model.waiting),
            str(model.requests),
            str(model.starts),
            f"{model.spin_up_s[-1]:.1f} s" if model.spin_up_s else "",
            ago(model.last_hit, now),
            ", ".join(paths.get(name, [])),
        ]
        for name, model in models.items()
    ]
    notes = [outdated_line(name, model.outdated) for name, model in models.items() if model.outdated]
    notes += [f"{name}: {why}" for name, model in models.items() if (why := _failure(model))]
    head = ["MODEL", "STATE", "RUNNING", "WAITING", "REQUESTS", "STARTS", "LAST START", "LAST HIT", "PATH"]
    lines = table(head, rows).splitlines()
    shown = [
        line.replace(f"  {state}", f"  {coloured(state, state)}", 1)
        for line, state in zip(lines[1:], (str(model.state) for model in models.values()), strict=True)
    ]
    return "\n".join([url, "", lines[0], *shown, *([""] if notes else []), *map(one_line, notes)])


def _failure(model: ModelStatus) -> str | None:
    error = model.last_error
    if error is None:
        return None
    return one_line(f"{error.summary}: {error.hint}" if error.hint else error.summary)
