"""``hotseat rotate-key``: replace the clients' key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from hotseat.commands._errors import CommandFailed
from hotseat.commands._stack import StackUnreadable, in_folder, stack_option
from hotseat.config.parsers.times import duration
from hotseat.envfile import disk
from hotseat.envfile.syntax import EnvFileError
from hotseat.stack.keys import KeyFileError, KeyRotation, rotate


@click.command(
    "rotate-key",
    epilog="""\b
Examples:
  hotseat rotate-key --stack /srv/llm/compose
  hotseat rotate-key --grace 7d

Exit status: 0 replaced, 1 not replaced, 2 wrong usage.""",
)
@stack_option
@click.option(
    "--grace",
    default="24h",
    show_default=True,
    metavar="DURATION",
    help="How long the old key stays valid (0: not at all).",
)
def command(folder: Path, grace: str) -> None:
    """Replace the clients' key (VLLM_API_KEY) in the stack's .env; the old one stays valid for a while.

    The containers keep the key that they were started with. The launcher uses the new key once it has read
    its configuration again (hotseat reload); running requests are not affected. An older key that was
    still valid ends at once.
    """
    path = folder / ".env"
    try:
        wait = timedelta(seconds=duration(grace))
    except ValueError as error:
        raise StackUnreadable(f"--grace: {error}") from None
    try:
        rotation = rotate(disk.read_text(path), datetime.now(UTC), wait)
        disk.replace_private(path, rotation.text)
    except FileNotFoundError:
        raise CommandFailed(f"{path} does not exist: run hotseat init first") from None
    except (KeyFileError, EnvFileError) as error:
        raise CommandFailed(f"{path}: {error}") from None
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None
    click.echo(f"{path}: VLLM_API_KEY was replaced (not shown here; read the file).")
    if rotation.old_until:
        click.echo(f"The old key stays valid until {rotation.old_until:%Y-%m-%d %H:%M} UTC.")
    else:
        click.echo("The old key ends as soon as the launcher has read the new one.")
    if rotation.kept_upstream:
        click.echo("UPSTREAM_API_KEY was added, so that the containers keep the key they were started with.")
    click.echo(f"Next: {_next(path, rotation, in_folder(folder))}, then give clients the new key.")


def _next(path: Path, rotation: KeyRotation, prefix: str) -> str:
    """The command that makes the launcher use the new key."""
    has_admin = bool(disk.read(path, {}).get("ADMIN_API_KEY"))
    if rotation.old_until or has_admin:
        return f"{prefix}hotseat reload"
    return f"{prefix}docker compose restart launcher"  # no key is left that both sides know
