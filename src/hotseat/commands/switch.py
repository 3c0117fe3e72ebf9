"""``hotseat switch``: give the seat to one model by hand."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from hotseat.commands import _client, _orders
from hotseat.commands._client import LauncherClient
from hotseat.commands._errors import CommandFailed
from hotseat.commands._stack import StackUnreadable, read_settings, read_stack
from hotseat.stack.compose.reading import COMPOSE_NAMES, find_compose
from hotseat.stack.switch_plan import SwitchError, plan

HOLDS_NO_SEAT = ("stopped", "backoff", "stopping")


@click.command(
    "switch",
    epilog="""\b
Examples:
  hotseat switch coder
  hotseat switch coder --url http://gpu-box:8000 --wait
  hotseat switch q7b --stack /srv/llm/compose --dry-run

Exit status: 0 done, 1 it did not work, else Compose's own; 2 wrong usage or no such model,
3 no launcher answers.""",
)
@click.argument("name")
@click.option(
    "--stack",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="By Compose, as switch.sh does: the folder with docker-compose.yml, hotseat.yaml and .env. "
    "Default: this folder, where it has a Compose file and no launcher is named.",
)
@click.option("--dry-run", is_flag=True, help="Only print what would be done.")
@_orders.options("Return when it is ready, or say why it is not.")
@_client.options
def command(
    name: str,
    folder: Path | None,
    dry_run: bool,
    wait: bool,
    timeout_s: float,
    as_json: bool,
    url: str | None,
    config: str | None,
) -> None:
    """Stop the other models and start the model NAME.

    Through the running launcher: running answers of the others are finished first. In the folder of the
    stack, or with --stack: by Compose, which brings the launcher up too and cuts running answers off
    after their container's grace period. NAME is a route, a model, an alias or a container; by Compose
    also a profile: coder, chat, q7b.
    """
    if folder is None and url is None and config is None:
        here = Path()
        folder = here if any((here / one).is_file() for one in COMPOSE_NAMES) else None
    if folder is not None:
        _by_compose(name, folder, dry_run)
        return
    running = _client.connect(url, config)
    route, others = _seats(running, name)
    for other in others:
        click.echo(f"stop {other}" if dry_run else f"{other}: is to stop", err=True)
        if not dry_run:
            running.post("/admin/stop", {"route": other, "wait": False})
    if dry_run:
        click.echo(f"start {route}", err=True)
        return
    _orders.order(running, "start", route, wait=wait, timeout_s=timeout_s, as_json=as_json)


def _seats(running: LauncherClient, name: str) -> tuple[str, list[str]]:
    """What to start, and the other models that hold a seat.

    Raises ``StackUnreadable`` where there is no such.
    """
    routes = running.get("/routes").get("routes", {})
    states = {str(route.get("model")): str(route.get("state")) for route in routes.values()}
    if name not in routes and name not in states:
        also = (
            key for key, route in routes.items() if name in (*route.get("aliases", ()), _container(route))
        )
        if (found := next(also, None)) is None:
            raise StackUnreadable(
                f"no route or model is called {name!r}; there are {', '.join(sorted(routes))}"
            )
        name = str(found)
    chosen = routes[name].get("model") if name in routes else name
    return name, [one for one, state in states.items() if one != chosen and state not in HOLDS_NO_SEAT]


def _container(route: Mapping[str, object]) -> object:
    return route.get("target") if route.get("runtime") == "docker" else None


def _by_compose(name: str, folder: Path, dry_run: bool) -> None:
    settings = read_settings(folder / "hotseat.yaml", folder)
    try:
        switching = plan(name, settings, read_stack(folder).project)
    except SwitchError as error:
        raise StackUnreadable(str(error)) from None
    compose = find_compose(os.environ)
    if compose is None and not dry_run:
        raise CommandFailed("there is no Compose v2 here: install the package docker-compose-plugin")
    words = list(compose.words) if compose else ["docker", "compose"]
    for more in switching.commands():
        click.echo(f"+ docker compose {shlex.join(more)}", err=True)
        if dry_run:
            continue
        done = subprocess.run([*words, *more], cwd=folder, check=False)
        if done.returncode:
            sys.exit(done.returncode)
