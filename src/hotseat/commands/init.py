"""``hotseat init``: write the stack's ``.env`` with fresh keys."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from hotseat.commands._errors import CommandFailed
from hotseat.commands._stack import in_folder, stack_option
from hotseat.envfile import disk
from hotseat.stack.env_template import fresh

_SOCKET = "/var/run/docker.sock"


@click.command("init", epilog="Exit status: 0 written, 1 not written.")
@stack_option
def command(folder: Path) -> None:
    """Write the stack's .env, with fresh random keys, for its owner's eyes alone (mode 600).

    VLLM_API_KEY is what clients send, UPSTREAM_API_KEY what the containers want, and ADMIN_API_KEY
    opens the admin API. A .env that is there is never overwritten.
    """
    path = folder / ".env"
    named = os.environ.get("DOCKER_HOST", "")
    socket = Path(named.removeprefix("unix://") if named.startswith("unix:///") else _SOCKET)
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
            f"{path} is there already, and is never overwritten (hotseat rotate-key changes the key)"
        ) from None
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None
    click.echo(f"{path} written, mode 600, with fresh keys for clients, containers and the admin API.")
    if not socket.exists():
        click.echo(f"There is no {socket} here: set DOCKER_GID to its group before the launcher starts.")
    click.echo(f"Next: look it over, then  {in_folder(folder)}docker compose up -d launcher")


def _owner(folder: Path) -> tuple[int, int]:
    """Who runs the launcher: whoever calls this, or, with sudo, the folder's owner."""
    home = folder.stat()
    if os.getuid() == 0 and home.st_uid != 0:
        return home.st_uid, home.st_gid
    return os.getuid(), os.getgid()
