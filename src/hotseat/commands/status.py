"""``hotseat status``: what runs."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import click

from hotseat.commands import _client
from hotseat.commands._client import LauncherClient
from hotseat.commands._errors import CommandFailed, LauncherUnreachable
from hotseat.commands._table import one_line, table

WATCH_EVERY_S = 2.0
LOADING = ("downloading", "starting", "waking")
"""The states that end in ``ready``: what is left of them can be said."""
IDLE = ("stopped", "asleep")
"""The states in which it holds no seat."""


@click.command(
    "status",
    epilog="""\b
Examples:
  hotseat status
  hotseat status --url http://gpu-box:8000
  hotseat status --json | jq -r '.models | to_entries[] | select(.value.state == "ready") | .key'

Exit status: 0 shown, 1 the launcher refused, 2 wrong usage, 3 no launcher answers.""",
)
@_client.options
@click.option("--json", "as_json", is_flag=True, help="Print routes and models as JSON.")
@click.option("-w", "--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
def command(url: str | None, config: str | None, as_json: bool, watch: bool) -> None:
    """Show the models of the running launcher.

    An admin key is taken from HOTSEAT_ADMIN_KEY, ADMIN_API_KEY or VLLM_API_KEY.
    """
    running = _client.connect(url, config)
    if not watch:
        _show(running, as_json)
        return
    with suppress(KeyboardInterrupt):
        while True:
            click.clear()
            try:
                _show(running, as_json)
            except (CommandFailed, LauncherUnreachable) as problem:  # it may come back
                click.echo(problem.format_message())
            time.sleep(WATCH_EVERY_S)


def _show(running: LauncherClient, as_json: bool) -> None:
    routes = running.get("/routes").get("routes", {})
    models = running.get("/stats").get("models", {})
    unusable = running.get("/healthz", also=503).get("runtimes", {})
    if as_json:
        everything = {"url": running.url, "routes": routes, "models": models, "unusable_runtimes": unusable}
        click.echo(json.dumps(everything, indent=2))
        return
    click.echo(render(running.url, routes, models, datetime.datetime.now(datetime.UTC)))
    for model, capture in _captures(routes).items():
        until, file = capture.get("until"), capture.get("file")
        click.echo(f"\nCAPTURING {model} until {until}: prompts and answers go to {file}")
    for name, why in unusable.items():
        click.echo(f"\nThe runtime {name} cannot work now: {one_line(str(why))}")


def _captures(routes: Mapping[str, Any]) -> dict[str, Any]:
    return {str(route.get("model")): route["capture"] for route in routes.values() if route.get("capture")}


def render(url: str, routes: Mapping[str, Any], models: Mapping[str, Any], now: datetime.datetime) -> str:
    """The table, and under it what went wrong."""
    paths: dict[str, list[str]] = {}
    for route in routes.values():
        path = str(route.get("path", ""))
        paths.setdefault(str(route.get("model")), []).append(
            path + (" (default)" if route.get("default") else "")
        )
    rows = []
    failures = []
    for name, model in models.items():
        starts = model.get("spin_up_s") or []
        rows.append(
            [
                name,
                describe(model),
                str(model.get("in_flight", 0)),
                str(model.get("waiting", 0)),
                str(model.get("requests", 0)),
                str(model.get("starts", 0)),
                f"{starts[-1]:.1f} s" if starts else "",
                ago(model.get("last_hit"), now),
                ", ".join(paths.get(name, [])),
            ]
        )
        if failed := _failure(model):
            failures.append(f"{name}: {failed}")
    head = ["MODEL", "STATE", "RUNNING", "WAITING", "REQUESTS", "STARTS", "LAST START", "LAST HIT", "PATH"]
    return "\n".join([url, "", table(head, rows), *([""] if failures else []), *failures])


def describe(model: Mapping[str, Any]) -> str:
    """A model's state in words: ``starting (compiling, about 35 s left)``."""
    state = str(model.get("state", "?"))
    more = []
    if state in IDLE and (model.get("requested") or model.get("waiting")):
        more.append("waits for its turn")
    if model.get("phase") is not None and model["phase"] != state:
        more.append(str(model["phase"]))
    if model.get("eta_s") is not None and state in LOADING:
        more.append(f"about {model['eta_s']:.0f} s left")
    if model.get("retry_in_s") is not None:
        more.append(f"tried again after {model['retry_in_s']:.0f} s")
    return f"{state} ({', '.join(more)})" if more else state


def _failure(model: Mapping[str, Any]) -> str | None:
    error = model.get("last_error")
    if not isinstance(error, Mapping):
        return None
    said = [str(error.get("summary") or "failed")]
    if error.get("hint"):
        said.append(str(error["hint"]))
    return one_line(": ".join(said))


def ago(iso: Any, now: datetime.datetime) -> str:
    """How long ago that was: ``5 m ago``; empty for what is no time."""
    if not isinstance(iso, str):
        return ""
    try:
        seconds = int((now - datetime.datetime.fromisoformat(iso)).total_seconds())
    except (ValueError, TypeError):
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{max(0, seconds)} s ago"
