"""``hotseat install-service``: install a systemd unit for the stack."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import click

from hotseat.commands._errors import CommandFailed
from hotseat.commands._stack import StackUnreadable, read_settings, read_stack, stack_option
from hotseat.core.spec import Settings
from hotseat.stack.compose.reading import COMPOSE_NAMES, find_compose
from hotseat.stack.switch_plan import SwitchError, plan
from hotseat.stack.unit import plain_unit, unit

_NAME = "hotseat.service"


@click.command(
    "install-service",
    epilog="""\b
Examples:
  hotseat install-service --stack /srv/llm/compose --model chat --print
  sudo "$(command -v hotseat)" install-service --stack /srv/llm/compose
  hotseat install-service --user

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

    In a folder with a Compose file the unit starts the stack; stopping it stops the launcher and every model
    container. With hotseat.yaml alone it runs hotseat serve, as the folder's owner.
    """
    settings = read_settings(folder / "hotseat.yaml", folder)
    plain = not any((folder / name).is_file() for name in COMPOSE_NAMES)
    text = _plain(folder.resolve(), settings, model, user) if plain else _stack(folder, settings, model, user)
    if only_print:
        click.echo(text, nl=False)
        return
    _write(text, user, force)
    _enable(["--user"] if user else [], "launcher" if plain else "stack")


def _plain(folder: Path, settings: Settings, model: str | None, user: bool) -> str:
    if model is not None:
        raise StackUnreadable(
            f"for plain processes write preload: true under models.{model} instead of --model"
        )
    owner = folder.stat().st_uid
    try:
        run_as = pwd.getpwuid(owner).pw_name
    except KeyError:
        run_as = str(owner)
    return plain_unit(
        folder=folder,
        program=_program(),
        search_path=os.environ.get("PATH") or os.defpath,
        leave_running=settings.serve.leave_running,
        run_as=run_as,
        user=user,
    )


def _program() -> list[str]:
    """The command of this hotseat, independent of PATH."""
    beside = Path(sys.executable).with_name("hotseat")
    return [str(beside)] if beside.is_file() else [sys.executable, "-m", "hotseat"]


def _stack(folder: Path, settings: Settings, model: str | None, user: bool) -> str:
    project = read_stack(folder).project
    first = model or next(iter(settings.models))
    try:
        switching = plan(first, settings, project)
    except SwitchError as error:
        raise StackUnreadable(str(error)) from None
    compose = find_compose(os.environ)
    return unit(
        folder=folder.resolve(),
        compose=compose.words if compose else ("/usr/bin/docker", "compose"),
        profiles=switching.profiles if model else ("launcher",),
        models=[service.name for service in project.models()],
        user=user,
    )


def _write(text: str, user: bool, force: bool) -> None:
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


def _folder(user: bool) -> Path:
    if user:
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"
    # systemd's own variable for the folders of units, the first of which counts most.
    return Path(os.environ.get("SYSTEMD_UNIT_PATH", "").partition(":")[0] or "/etc/systemd/system")


def _enable(scope: list[str], what: str) -> None:
    program = shutil.which("systemctl")
    start = " ".join(["systemctl", *scope, "start", _NAME])
    if program is None:
        raise CommandFailed(
            "systemctl is missing. On WSL, set systemd=true in /etc/wsl.conf, then run wsl --shutdown."
        )
    for words in (["daemon-reload"], ["enable", _NAME]):
        done = subprocess.run([program, *scope, *words], check=False)
        if done.returncode:
            raise CommandFailed(f"{' '.join(['systemctl', *scope, *words])} failed")
    when = "at your next login (at boot: loginctl enable-linger)" if scope else "at the next boot"
    click.echo(f"The {what} starts {when}. To start it now: {start}")
