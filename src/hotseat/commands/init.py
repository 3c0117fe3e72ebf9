"""``hotseat init``: write the stack's ``.env`` with fresh keys."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from hotseat.commands._errors import CommandFailed
from hotseat.commands._stack import in_folder, stack_option
from hotseat.envfile import disk
from hotseat.runtimes.docker.endpoint import USUAL_SOCKET, EndpointError, find_endpoint
from hotseat.stack.env_template import fresh


@click.command("init", epilog="Exit status: 0 written, 1 not written.")
@stack_option
def command(folder: Path) -> None:
    """Write the stack's .env with fresh random keys, readable by its owner alone (mode 600).

    VLLM_API_KEY is the clients' key, UPSTREAM_API_KEY the key of the model containers, and ADMIN_API_KEY
    the key for the admin API. An existing .env is never overwritten.
    """
    path = folder / ".env"
    socket = _docker_socket()
    try:
        owner = _owner(folder)
        group = socket.stat().st_gid if socket.exists() else 0
        host = {
            "LAUNCHER_UID": owner[0],
            "LAUNCHER_GID": owner[1],
            "DOCKER_SOCKET": socket,
            "DOCKER_GID": group,
        }
        disk.create_private(path, fresh(datetime.now(UTC), host))
        os.chown(path, *owner)
    except FileExistsError:
        raise CommandFailed(
            f"{path} already exists and is never overwritten. To replace the key: hotseat rotate-key"
        ) from None
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None
    click.echo(f"{path} written, mode 600, with fresh keys for clients, containers and the admin API.")
    if not socket.exists():
        click.echo(f"{socket} does not exist yet: set DOCKER_GID to its group before you start the launcher.")
    click.echo(f"Next: check the file, then run  {in_folder(folder)}docker compose up -d launcher")


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
