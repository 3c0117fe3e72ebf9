"""``hotseat install-service``: install a systemd unit for the stack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from hotseat.commands._errors import CommandFailed
from hotseat.commands._stack import StackUnreadable, read_settings, read_stack, stack_option
from hotseat.stack.compose.reading import find_compose
from hotseat.stack.switch_plan import SwitchError, plan
from hotseat.stack.unit import unit

_NAME = "hotseat.service"


@click.command(
    "install-service",
    epilog="""\b
Examples:
  hotseat install-service --stack /srv/llm/compose --model chat --print
  sudo "$(command -v hotseat)" install-service --stack /srv/llm/compose

Exit status: 0 done, 1 failed, 2 wrong usage or unreadable files.""",
)
@stack_option
@click.option("--model", metavar="NAME", help="Also start this model.  [default: none]")
@click.option(
    "--user/--system", default=False, help="Install for this user, or for the system.  [default: system]"
)
@click.option("--print", "only_print", is_flag=True, help="Print the unit and exit.")
@click.option("--force", is_flag=True, help="Replace a different unit of the same name.")
def command(folder: Path, model: str | None, user: bool, only_print: bool, force: bool) -> None:
    """Install and enable a systemd unit that starts the launcher, and with --model also one model.

    Stopping the unit stops the launcher and every model container.
    """
    settings = read_settings(folder / "hotseat.yaml", folder)
    project = read_stack(folder).project
    first = model or next(iter(settings.models))
    try:
        switching = plan(first, settings, project)
    except SwitchError as error:
        raise StackUnreadable(str(error)) from None
    compose = find_compose(os.environ)
    text = unit(
        folder=folder.resolve(),
        compose=compose.words if compose else ("/usr/bin/docker", "compose"),
        profiles=switching.profiles if model else ("launcher",),
        models=[service.name for service in project.models()],
        user=user,
    )
    if only_print:
        click.echo(text, nl=False)
        return
    path = _folder(user) / _NAME
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else text
        if old != text and not force:
            raise CommandFailed(
                f"{path} exists and differs from the output of --print. To replace it, use --force."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandFailed(
            f"{path}: {error.strerror}. Use sudo, or install for this user with --user."
        ) from None
    click.echo(f"{path} written.")
    _enable(["--user"] if user else [])


def _folder(user: bool) -> Path:
    if user:
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"
    return Path("/etc/systemd/system")


def _enable(scope: list[str]) -> None:
    program = shutil.which("systemctl")
    start = " ".join(["systemctl", *scope, "start", _NAME])
    if program is None:
        raise CommandFailed(
            "systemctl is missing. On WSL, set systemd=true in /etc/wsl.conf, then run wsl --shutdown."
        )
    for words in (["daemon-reload"], ["enable", _NAME]):
        done = subprocess.run([program, *scope, *words], check=False)
        if done.returncode:
            sys.exit(done.returncode)
    click.echo(f"The stack starts at the next boot. To start it now: {start}")
