"""``hotseat switch``: give the GPU to one model by hand."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click

from hotseat.admin.schema import ModelResponse, RoutesResponse, RouteStatus, StartRequest, StopRequest
from hotseat.commands import _options, _orders
from hotseat.commands._errors import CommandFailed
from hotseat.commands._stack import StackUnreadable, read_settings, read_stack
from hotseat.stack.compose.reading import COMPOSE_NAMES, find_compose
from hotseat.stack.switch_plan import SwitchError, plan

NOT_RUNNING = ("stopped", "backoff", "stopping")


@click.command(
    "switch",
    epilog="""\b
Examples:
  hotseat switch coder
  hotseat switch coder --url http://gpu-box:8000 --wait
  hotseat switch q7b --stack /srv/llm/compose --dry-run

Exit status: 0 done, 1 failed, 2 wrong usage or no such model, 3 no launcher answers; with Compose,
Compose's own.""",
)
@click.argument("name")
@click.option(
    "--stack",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Use Compose, in the folder with docker-compose.yml, hotseat.yaml and .env. Default: this "
    "folder, if it has a Compose file and neither --url nor --config is given.",
)
@click.option("--dry-run", is_flag=True, help="Only print what would be done.")
@_orders.order_options("Return when the model is ready, or with the reason why it did not start.")
@_options.launcher_options
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

    Asks the running launcher, which lets running requests of the other models finish. With --stack, or in
    the folder of a stack, uses Compose instead: it also starts the launcher, and cuts running requests off
    after the container's grace period. NAME is a route, a model, an alias or a container; with Compose also
    a profile such as coder, chat or q7b.
    """
    if folder is None and url is None and config is None:
        here = Path()
        folder = here if any((here / one).is_file() for one in COMPOSE_NAMES) else None
    if folder is not None:
        _by_compose(name, folder, dry_run)
        return
    running = _options.connect(url, config)
    route, others = _resolve(running.get("/routes", RoutesResponse).routes, name)
    for other in others:
        click.echo(f"stop {other}" if dry_run else f"{other}: stopping", err=True)
        if not dry_run:
            running.post("/admin/stop", StopRequest(route=other), ModelResponse)
    if dry_run:
        click.echo(f"start {route}", err=True)
        return
    order = StartRequest(route=route, wait=wait)
    _orders.start(running, order, timeout_s=timeout_s, as_json=as_json)


def _resolve(routes: dict[str, RouteStatus], name: str) -> tuple[str, list[str]]:
    """The route or model to start, and the other models that run.

    Raises ``StackUnreadable`` for an unknown name.
    """
    states = {route.model: route.state for route in routes.values()}
    if name not in routes and name not in states:
        also = (key for key, route in routes.items() if name in (*route.aliases, _container(route)))
        if (found := next(also, None)) is None:
            raise StackUnreadable(
                f"no route or model is called {name!r}; there are {', '.join(sorted(routes))}"
            )
        name = found
    chosen = routes[name].model if name in routes else name
    return name, [one for one, state in states.items() if one != chosen and state not in NOT_RUNNING]


def _container(route: RouteStatus) -> str | None:
    return route.target if route.runtime == "docker" else None


def _by_compose(name: str, folder: Path, dry_run: bool) -> None:
    settings = read_settings(folder / "hotseat.yaml", folder)
    try:
        switching = plan(name, settings, read_stack(folder).project)
    except SwitchError as error:
        raise StackUnreadable(str(error)) from None
    compose = find_compose(os.environ)
    if compose is None and not dry_run:
        raise CommandFailed("Docker Compose v2 is not installed: install the package docker-compose-plugin")
    words = list(compose.words) if compose else ["docker", "compose"]
    for arguments in switching.commands():
        click.echo(f"+ docker compose {shlex.join(arguments)}", err=True)
        if dry_run:
            continue
        done = subprocess.run([*words, *arguments], cwd=folder, check=False)
        if done.returncode:
            sys.exit(done.returncode)
