"""``hotseat clients``: print a ready configuration for a program that uses hotseat."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

import click

from hotseat import config
from hotseat.admin.schema import HealthResponse
from hotseat.clients.formats import FORMATS, Format
from hotseat.clients.offer import Choice, NotOffered, Offered, choose
from hotseat.commands import _options
from hotseat.commands._credentials import CLIENT_KEYS
from hotseat.commands._environment import with_env_file
from hotseat.commands._errors import CommandFailed, InvalidConfig
from hotseat.commands._model_list import ModelList
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

Exit status: 0 printed, 1 failed, 2 wrong usage, 3 no launcher answers.""",
)
@click.argument("name", type=click.Choice(list(FORMATS)), metavar="NAME")
@click.option(
    "--url",
    envvar="HOTSEAT_URL",
    metavar="URL",
    help="The launcher's URL, as the program will reach it.  [env: HOTSEAT_URL]",
)
@click.option(
    "-c",
    "--config",
    "file",
    metavar="FILE",
    help="Take the models from this configuration instead of from a running launcher.",
)
@click.option("--model", "chat", metavar="NAME", help="The model for chat.")
@click.option("--autocomplete", metavar="NAME", help="The model for autocomplete, if both fit on the GPU.")
@click.option(
    "--context",
    type=click.IntRange(min=256),
    metavar="TOKENS",
    help="The models' context length. Default: --max-model-len in the configuration's commands.",
)
@click.option(
    "--with-key",
    is_flag=True,
    help="Include the key itself (from HOTSEAT_API_KEY or VLLM_API_KEY), not its variable.",
)
def command(
    name: str,
    url: str | None,
    file: str | None,
    chat: str | None,
    autocomplete: str | None,
    context: int | None,
    with_key: bool,
) -> None:
    """Print a ready configuration for the program NAME, with the models of the running launcher.

    Coding tools get the first model with "cod" in its name, other programs the default model. If the
    models for chat and autocomplete do not fit on the GPU together, one model does both, so that they do
    not evict each other all the time. Keys are references to environment variables.
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
            chat=chat,
            autocomplete=autocomplete,
            key=_key() if with_key else None,
        )
    except NotOffered as error:
        raise click.UsageError(str(error)) from None
    click.echo(format_.render(choice), nl=False)
    _print_notes(format_, choice)


def _print_notes(format_: Format, choice: Choice) -> None:
    if format_.note:
        click.echo(format_.note.format(variable=choice.variable), err=True)
    if format_.needs_key and choice.key is None:
        click.echo(
            f"This program cannot read the key from the environment. Replace the placeholder with the value "
            f"of {choice.variable}, or use --with-key.",
            err=True,
        )


def _key() -> str:
    try:
        env = config.environment(with_env_file(None, os.environ))
    except config.ConfigError as error:
        raise InvalidConfig(error) from None
    for variable in CLIENT_KEYS:
        if key := env.get(variable):
            return key
    raise CommandFailed(f"there is no key to include: set {' or '.join(CLIENT_KEYS)}")


def _of_config(file: str, url: str | None) -> tuple[str, list[Offered], Mapping[str, float]]:
    try:
        settings = config.load(file, with_env_file(file, os.environ))
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
    return _options.connect(url, file).url, offered, _shares(settings.scheduler.budget)


def _of_launcher(url: str | None) -> tuple[str, list[Offered], Mapping[str, float]]:
    running = _options.connect(url, None, CLIENT_KEYS)
    names = running.get("/v1/models", ModelList).names
    health = running.get("/healthz", HealthResponse, also=503)
    offered = [
        Offered(name=name, model=route.model, footprint=route.footprint, default=route.default)
        for name, route in (health.routes or {}).items()
        if name in names
    ]
    if not offered:
        raise CommandFailed(f"this key gives access to no model of {running.url}")
    return running.url, offered, health.budget or {}


def _shares(footprint: Mapping[str, int]) -> dict[str, float]:
    return {device: ppm / PPM for device, ppm in footprint.items()}


def _context(settings: Settings, model: str) -> int | None:
    program = settings.models[model].launch.program
    if program is None:
        return None
    tokens = flags.number(flags.words(program.command), "--max-model-len", "--ctx-size", "-c")
    return int(tokens) if tokens else None
