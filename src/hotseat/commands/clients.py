"""``hotseat clients``: a ready configuration for a program that talks to hotseat."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import click

from hotseat import config
from hotseat.clients.formats import FORMATS, Format
from hotseat.clients.offer import Choice, NotOffered, Offered, choose
from hotseat.commands import _client
from hotseat.commands._client import CLIENT_KEY_VARIABLES
from hotseat.commands._errors import CommandFailed, InvalidConfig
from hotseat.core.spec import PPM, Settings
from hotseat.engines import flags

_LIST = "\n".join(f"  {name.ljust(14)} {one.title}" for name, one in FORMATS.items())


@click.command(
    "clients",
    epilog=f"""\b
NAME is one of:
{_LIST}

\b
Examples:
  hotseat clients continue > ~/.continue/config.yaml
  hotseat clients opencode -c hotseat.yaml --url http://gpu-box:8000
  eval "$(hotseat clients claude-code --model coder)"

Exit status: 0 printed, 1 the launcher refused, 2 wrong usage, 3 no launcher answers.""",
)
@click.argument("name", type=click.Choice(list(FORMATS)), metavar="NAME")
@click.option(
    "--url",
    envvar="HOTSEAT_URL",
    metavar="URL",
    help="The launcher, as the program will reach it.  [env: HOTSEAT_URL]",
)
@click.option(
    "-c",
    "--config",
    "file",
    metavar="FILE",
    help="Ask no launcher: take the models from this configuration.",
)
@click.option("--model", "chatting", metavar="NAME", help="The model to talk to.")
@click.option(
    "--autocomplete", "completing", metavar="NAME", help="The model that completes, if it fits beside it."
)
@click.option(
    "--context",
    type=click.IntRange(min=256),
    metavar="TOKENS",
    help="The models' context; by default --max-model-len in the configuration's commands.",
)
@click.option(
    "--with-key", is_flag=True, help="Write the key out (from HOTSEAT_API_KEY or VLLM_API_KEY), not its name."
)
def command(
    name: str,
    url: str | None,
    file: str | None,
    chatting: str | None,
    completing: str | None,
    context: int | None,
    with_key: bool,
) -> None:
    """Print a ready configuration for the program NAME, from the routes of the running launcher.

    Programs for programmers get the first model whose name says code, others the default model. Where
    two models would take turns on the GPU, one does both chat and autocomplete. Keys are references to
    the environment.
    """
    format_ = FORMATS[name]
    base, offered, budget = _of_config(file, url) if file else _of_launcher(url)
    if context is not None:
        offered = [dataclasses.replace(one, context=context) for one in offered]
    try:
        choice = choose(
            base,
            offered,
            budget,
            coding=format_.coding,
            chatting=chatting,
            completing=completing,
            key=_key() if with_key else None,
        )
    except NotOffered as error:
        raise click.UsageError(str(error)) from None
    click.echo(format_.render(choice), nl=False)
    _say(format_, choice)


def _say(format_: Format, choice: Choice) -> None:
    if format_.note:
        click.echo(format_.note.format(variable=choice.variable), err=True)
    if format_.blind and choice.key is None:
        words = f"This program knows no references: put the key of {choice.variable} in its place,"
        click.echo(f"{words} or use --with-key.", err=True)


def _key() -> str:
    try:
        env = config.environment(os.environ)
    except config.ConfigError as error:
        raise InvalidConfig(error) from None
    for variable in CLIENT_KEY_VARIABLES:
        if key := env.get(variable):
            return key
    raise CommandFailed(f"there is no key to write: set {' or '.join(CLIENT_KEY_VARIABLES)}")


def _of_config(file: str, url: str | None) -> tuple[str, list[Offered], Mapping[str, float]]:
    try:
        settings = config.load(file)
    except config.ConfigError as error:
        raise InvalidConfig(error) from None
    offered = [
        Offered(
            name=route.name,
            model=route.model,
            footprint=_shares(settings.models[route.model].scheduling.footprint),
            default=route.name == settings.serve.default_route,
            context=_context(settings, route.model),
        )
        for route in settings.routes
    ]
    return _client.connect(url, file).url, offered, _shares(settings.scheduler.budget)


def _of_launcher(url: str | None) -> tuple[str, list[Offered], Mapping[str, float]]:
    running = _client.connect(url, None, CLIENT_KEY_VARIABLES)
    seen = {str(one["id"]) for one in running.get("/v1/models").get("data", [])}
    health = running.get("/healthz", also=503)
    routes: Mapping[str, Any] = health.get("routes") or {}
    offered = [
        Offered(
            name=name,
            model=str(route["model"]),
            footprint=route.get("footprint", {}),
            default=bool(route.get("default")),
        )
        for name, route in routes.items()
        if name in seen
    ]
    if not offered:
        raise CommandFailed(f"{running.url} has no model for this key")
    return running.url, offered, health.get("budget", {})


def _shares(footprint: Mapping[str, int]) -> dict[str, float]:
    return {device: ppm / PPM for device, ppm in footprint.items()}


def _context(settings: Settings, model: str) -> int | None:
    program = settings.models[model].launch.program
    if program is None:
        return None
    tokens = flags.number(flags.words(program.command), "--max-model-len", "--ctx-size", "-c")
    return int(tokens) if tokens else None
