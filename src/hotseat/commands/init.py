"""``hotseat init``: write a configuration and a ``.env`` with fresh keys."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from hotseat.commands._errors import CommandFailed
from hotseat.commands._stack import in_folder, read_stack, stack_option
from hotseat.envfile import disk
from hotseat.runtimes.docker.endpoint import USUAL_SOCKET, EndpointError, find_endpoint
from hotseat.stack import new_config
from hotseat.stack.compose.reading import COMPOSE_NAMES
from hotseat.stack.env_template import fresh

_CONFIG = "hotseat.yaml"


@click.command(
    "init",
    epilog="""\b
Examples:
  hotseat init --plain && hotseat serve
  hotseat init --stack /srv/llm/compose

Exit status: 0 written, 1 not written.""",
)
@stack_option
@click.option(
    "--plain/--compose",
    "plain",
    default=None,
    help="Models are plain processes, or the containers of the folder's Compose file.  [default: Compose if "
    "the folder has a Compose file, plain if it has a hotseat.yaml; else asks on a terminal]",
)
def command(folder: Path, plain: bool | None) -> None:
    """Write a hotseat.yaml if there is none, and a .env with fresh random keys (mode 600).

    VLLM_API_KEY is the clients' key and ADMIN_API_KEY the key for the admin API; with Compose,
    UPSTREAM_API_KEY is the key of the model containers. Existing files are never overwritten.
    """
    compose = next((name for name in COMPOSE_NAMES if (folder / name).is_file()), None)
    env_file, config = folder / ".env", folder / _CONFIG
    keys_alone = False
    if plain is None and compose is None and not config.exists():
        keys_alone = not (sys.stdin.isatty() and sys.stdout.isatty())  # a script that brings the files later
        plain = not keys_alone and _ask_for_plain()
    elif plain is None:
        plain = compose is None
    if not plain and compose is None and not keys_alone:
        raise CommandFailed(
            f"{folder} has no Compose file: copy deploy/compose there, or use --plain for models that are "
            "plain processes"
        )
    if env_file.exists() and (config.exists() or keys_alone):
        raise CommandFailed(
            f"{env_file} already exists and is never overwritten. To replace the key: hotseat rotate-key"
        )
    if not env_file.exists():
        _write(env_file, new_config.env_file(datetime.now(UTC)) if plain else _stack_env(folder), folder)
        whom = "clients and the admin API" if plain else "clients, containers and the admin API"
        click.echo(f"{env_file} written, mode 600, with fresh keys for {whom}.")
    if not config.exists() and not keys_alone:
        programs = {name: shutil.which(name) is not None for name in ("vllm", "llama-server")}
        services = [] if plain else read_stack(folder).project.models()
        text = new_config.plain(programs) if plain else new_config.of_project(str(compose), services)
        _write(config, text, folder, mode=0o644)
        click.echo(f"{config} written.")
        if plain and not any(programs.values()):
            click.echo("vllm is not installed here: install it, or write another server's command.")
    prefix = in_folder(folder)
    if plain:
        click.echo(f"Next: check {config}, then run  {prefix}hotseat serve")
        return
    if not (socket := _docker_socket()).exists():
        click.echo(f"{socket} does not exist yet: set DOCKER_GID to its group before you start the launcher.")
    click.echo(f"Next: check the file, then run  {prefix}docker compose up -d launcher")


def _ask_for_plain() -> bool:
    wanted: str = click.prompt(
        "Run models as plain processes, or as containers of a Compose file?",
        type=click.Choice(["plain", "compose"]),
        default="plain",
    )
    return wanted == "plain"


def _stack_env(folder: Path) -> str:
    socket, owner = _docker_socket(), _owner(folder)
    host = {
        "LAUNCHER_UID": owner[0],
        "LAUNCHER_GID": owner[1],
        "DOCKER_SOCKET": socket,
        "DOCKER_GID": socket.stat().st_gid if socket.exists() else 0,
    }
    return fresh(datetime.now(UTC), host)


def _write(path: Path, text: str, folder: Path, mode: int = 0o600) -> None:
    try:
        disk.create_private(path, text)
        path.chmod(mode)
        os.chown(path, *_owner(folder))
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None


def _docker_socket() -> Path:
    try:
        return find_endpoint(os.environ).socket or Path(USUAL_SOCKET)
    except EndpointError:  # hotseat doctor says so
        return Path(USUAL_SOCKET)


def _owner(folder: Path) -> tuple[int, int]:
    """The user and group that run the launcher: the caller, or with sudo the folder's owner."""
    home = folder.stat()
    if os.getuid() == 0 and home.st_uid != 0:
        return home.st_uid, home.st_gid
    return os.getuid(), os.getgid()
