"""``hotseat init``: write the stack's ``.env`` with fresh keys."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from hotseat.commands.failing import Failed
from hotseat.commands.stack_options import stack_option
from hotseat.envfile import disk
from hotseat.stack.envtemplate import fresh

_SOCKET = Path("/var/run/docker.sock")


@click.command("init", epilog="Exit status: 0 written, 1 not written.")
@stack_option
def command(folder: Path) -> None:
    """Write the stack's .env, with fresh random keys, for its owner's eyes alone (mode 600).

    VLLM_API_KEY is what clients send, UPSTREAM_API_KEY what the containers want, and ADMIN_API_KEY
    opens the admin API. A .env that is there is never overwritten.
    """
    path = folder / ".env"
    try:
        home = folder.stat()
        socket_group = _SOCKET.stat().st_gid if _SOCKET.exists() else 0
        owner = {"LAUNCHER_UID": os.getuid(), "LAUNCHER_GID": os.getgid(), "DOCKER_GID": socket_group}
        if os.getuid() == 0 and home.st_uid != 0:  # sudo: the launcher runs as the folder's owner
            owner |= {"LAUNCHER_UID": home.st_uid, "LAUNCHER_GID": home.st_gid}
        disk.create_private(path, fresh(datetime.now(UTC), owner))
        if os.getuid() == 0:
            os.chown(path, owner["LAUNCHER_UID"], owner["LAUNCHER_GID"])
    except FileExistsError:
        raise Failed(
            f"{path} is there already, and is never overwritten (hotseat rotate-key changes the key)"
        ) from None
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from None
    click.echo(f"{path} written, mode 600, with fresh keys for clients, containers and the admin API.")
    if not _SOCKET.exists():
        click.echo(f"There is no {_SOCKET} here: set DOCKER_GID to its group before the launcher starts.")
    click.echo(f"Next: look it over, then  cd {folder} && docker compose up -d launcher")
