"""``hotseat clients``: print a ready configuration for a program that uses hotseat."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import click

from hotseat import config
from hotseat.admin.schema import HealthResponse
from hotseat.clients.formats import FORMATS, Format
from hotseat.clients.mcp_entries import MCP_ENTRIES
from hotseat.clients.offer import NO_KEY, Choice, NotOffered, Offered, choose
from hotseat.clients.writing import CannotMerge, write
from hotseat.commands import _options
from hotseat.commands._client import LauncherClient
from hotseat.commands._connection import LauncherAddress, is_this_machine
from hotseat.commands._credentials import CLIENT_KEYS
from hotseat.commands._environment import completed, with_env_file
from hotseat.commands._errors import CommandFailed, InvalidConfig
from hotseat.commands._model_list import ModelList
from hotseat.config.parsers.network import is_loopback
from hotseat.core.spec import PPM

PROOF_SILENCE_S = 900.0
"""Longest silence of a proof request, in seconds: the model may have to start."""
_LIST = "\n".join(f"  {name.ljust(14)} {one.title}" for name, one in FORMATS.items())


@click.command(
    "clients",
    epilog=f"""\b
NAME is one of:
{_LIST}

\b
Examples:
  hotseat clients continue --write
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
    "--mcp",
    "as_tools",
    is_flag=True,
    help="Print the entry for hotseat's MCP tools instead. Only for: " + ", ".join(MCP_ENTRIES) + ".",
)
@click.option(
    "--write",
    "write_it",
    is_flag=True,
    help="Write the configuration where the program reads it: merged into what is there, with a backup. Then "
    "prove it with one request to the launcher.",
)
@click.option("--file", "target", metavar="FILE", help="With --write: write to this file instead.")
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
    as_tools: bool,
    write_it: bool,
    target: str | None,
    with_key: bool,
) -> None:
    """Print a ready configuration for the program NAME, with the models of the running launcher.

    Coding tools get the first model with "cod" in its name, other programs the default model. If the
    models for chat and autocomplete do not fit on the GPU together, one model does both, so that they do
    not evict each other all the time. Keys are references to environment variables; where the launcher
    needs none, programs that insist on one get a placeholder.
    """
    if as_tools:
        _print_mcp_entry(name, url, file)
        return
    format_ = FORMATS[name]
    if write_it and format_.place is None:
        raise click.UsageError(f"{name} has no file of its own: paste what is printed without --write")
    if target is not None and not write_it:
        raise click.UsageError("--file needs --write")
    base, offered, budget, needs_key = _of_config(file, url) if file else _of_launcher(url)
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
            key=_key() if with_key and needs_key else None,
            variable=_variable(),
        )
        if not needs_key:
            choice = dataclasses.replace(choice, key=NO_KEY)
    except NotOffered as error:
        raise click.UsageError(str(error)) from None
    if write_it:
        _write(format_, choice, target)
    else:
        click.echo(format_.render(choice), nl=False)
    _print_notes(format_, choice)


def _print_mcp_entry(name: str, url: str | None, file: str | None) -> None:
    entry = MCP_ENTRIES.get(name)
    if entry is None:
        raise click.UsageError(f"{name} knows no MCP; --mcp is for {', '.join(MCP_ENTRIES)}")
    click.echo(entry.render(_options.connect(url, file).url), nl=False)
    click.echo(entry.note, err=True)


def _write(format_: Format, choice: Choice, target: str | None) -> None:
    """Put the configuration in its place, and prove it with one request."""
    assert format_.place is not None
    path = Path(target or format_.place).expanduser()
    try:
        written = write(path, (format_.render_file or format_.render)(choice), format_.merge)
    except CannotMerge as error:
        raise CommandFailed(
            f"{path} was not changed: {error}. Add to it what is printed without --write."
        ) from None
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}") from None
    backup = f" (as it was before: {written.backup})" if written.backup else ""
    click.echo(f"wrote {path}{backup}")
    click.echo(_prove(choice, format_.endpoint))


def _prove(choice: Choice, endpoint: str) -> str:
    """Send one request as the program will. Raises ``CommandFailed``."""
    key = {CLIENT_KEYS[0]: choice.key} if choice.key else {}
    launcher = LauncherClient(
        LauncherAddress(choice.url), {**_environment_for(choice.url), **key}, CLIENT_KEYS
    )
    model = choice.chat.name
    body: dict[str, object] = {"model": model, "stream": True}
    if endpoint == "/v1/responses":
        body |= {"input": "Hello!", "max_output_tokens": 16}
    else:
        body |= {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8}
    began = time.monotonic()
    events = 0
    for line in launcher.stream(endpoint, body, PROOF_SILENCE_S):
        if not line.startswith("data: {"):
            continue
        event = json.loads(line.removeprefix("data: "))
        if error := event.get("error") or (event.get("response") or {}).get("error"):
            words = error.get("message", error) if isinstance(error, dict) else error
            raise CommandFailed(f"the launcher answered with an error: {words}")
        events += 1
    if not events:
        raise CommandFailed("the launcher answered nothing")
    return f"{model} answered at {choice.url}{endpoint} after {time.monotonic() - began:.1f} s"


def _environment_for(url: str) -> dict[str, str]:
    """The environment with the folder's keys, which are for this machine's launcher alone."""
    return completed(None, os.environ) if is_this_machine(url) else dict(os.environ)


def _print_notes(format_: Format, choice: Choice) -> None:
    if format_.note:
        click.echo(format_.note.format(variable=choice.variable), err=True)
    if format_.needs_key and choice.key is None:
        click.echo(
            f"This program cannot read the key from the environment. Replace the placeholder with the value "
            f"of {choice.variable}, or use --with-key.",
            err=True,
        )


def _variable() -> str:
    """The variable that programs shall read the key from: the one that is set, else ``VLLM_API_KEY``."""
    return next((variable for variable in CLIENT_KEYS if os.environ.get(variable)), CLIENT_KEYS[-1])


def _key() -> str:
    try:
        env = config.environment(with_env_file(None, os.environ))
    except config.ConfigError as error:
        raise InvalidConfig(error) from None
    for variable in CLIENT_KEYS:
        if key := env.get(variable):
            return key
    raise CommandFailed(f"there is no key to include: set {' or '.join(CLIENT_KEYS)}")


_Launcher = tuple[str, list[Offered], Mapping[str, float], bool]
"""A launcher's URL, what it offers, its budget, and whether it needs a key."""


def _of_config(file: str, url: str | None) -> _Launcher:
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
            context=settings.models[route.model].context,
            capabilities=settings.models[route.model].capabilities,
        )
        for route in settings.routes
    ]
    base = _options.connect(url, file).url
    # Without keys hotseat listens on this machine only: a launcher elsewhere has keys that are not here.
    elsewhere = not is_loopback(urlsplit(base).hostname or "")
    needs_key = settings.auth.enforced or (settings.auth.required and elsewhere)
    return base, offered, _shares(settings.scheduler.budget), needs_key


def _of_launcher(url: str | None) -> _Launcher:
    running = _options.connect(url, None, CLIENT_KEYS)
    names = running.get("/v1/models", ModelList).names
    health = running.get("/healthz", HealthResponse, also=503)
    offered = [
        Offered(
            name=name,
            model=route.model,
            footprint=route.footprint,
            default=route.default,
            context=route.context or None,
            capabilities=route.capabilities or (),
        )
        for name, route in (health.routes or {}).items()
        if name in names
    ]
    if not offered:
        raise CommandFailed(f"this key gives access to no model of {running.url}")
    env = _environment_for(running.url)
    needs_key = any(env.get(variable) for variable in CLIENT_KEYS)  # without one it has answered, too
    return running.url, offered, health.budget or {}, needs_key


def _shares(footprint: Mapping[str, int]) -> dict[str, float]:
    return {device: ppm / PPM for device, ppm in footprint.items()}
