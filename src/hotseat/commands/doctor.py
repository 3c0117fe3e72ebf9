"""``hotseat doctor``: check this machine and the stack, and say how to fix problems."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from hotseat import config
from hotseat.commands._output import count, echo_json
from hotseat.commands._stack import StackUnreadable, stack_option
from hotseat.commands._terminal import coloured
from hotseat.config.lockouts import lockouts
from hotseat.config.parsers import sizes
from hotseat.core.spec import Settings
from hotseat.envfile import disk
from hotseat.envfile.syntax import EnvFileError
from hotseat.stack.compose.compose_file import ComposeFileError
from hotseat.stack.compose.model import ComposeModel
from hotseat.stack.compose.reading import (
    COMPOSE_NAMES,
    compose_files,
    find_compose,
    read_project,
    stack_environment,
)
from hotseat.stack.doctor.check import CheckResult, error, ok, warning
from hotseat.stack.doctor.context import DoctorContext
from hotseat.stack.doctor.examine import examine

_MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  ", "unknown": "?      "}


@click.command(
    "doctor",
    epilog="""\b
Examples:
  hotseat doctor --stack /srv/llm/compose
  hotseat doctor --card 24GiB --json
  hotseat doctor -c hotseat.yaml

Exit status: 0 no errors, 1 errors found.""",
)
@stack_option
@click.option(
    "-c",
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="hotseat's configuration.  [default: hotseat.yaml in the folder]",
)
@click.option(
    "--card", metavar="SIZE", help="Assume a GPU with this much memory (24GiB) instead of the one here."
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(folder: Path, config_file: Path | None, card: str | None, as_json: bool) -> None:
    """Check this machine and the stack: one line per check, and for each problem a command that fixes it.

    Checks the configuration, keys and their age, Compose, Docker, the GPU and its container toolkit, images
    and containers, cache and disk, the port, and whether each model fits into its share of the GPU. If all
    models are plain processes and there is no Compose file: their programs, the port, disk and GPU.
    """
    try:
        size = sizes.size(card) if card else None
    except ValueError as problem:
        raise StackUnreadable(f"--card: {problem}") from None
    checks = list(_checks(folder, config_file or folder / "hotseat.yaml", size))
    if as_json:
        echo_json({"checks": [one.as_json() for one in checks]})
    else:
        for one in checks:
            click.echo(f"{coloured(_MARKS[one.state], one.state)} {one.name}: {one.message}")
            if one.fix:
                click.echo(f"        → {one.fix}")
    sys.exit(1 if any(one.state == "error" for one in checks) else 0)


def _checks(folder: Path, config_file: Path, card: int | None) -> Iterator[CheckResult]:
    settings, project = None, None
    reads: list[Settings | ComposeModel | CheckResult] = [_settings(config_file, folder)]
    if not _needs_no_stack(reads[0], folder):
        reads.append(_project(folder))
    for read in reads:
        if isinstance(read, Settings):
            settings = read
            yield ok("config", f"{config_file}: {', '.join(settings.models)}")
        elif isinstance(read, ComposeModel):
            project = read
            yield ok("compose files", count(len(project.services), "service"))
        else:
            yield read
    if settings is None and len(reads) == 1:
        return  # nothing says what the models need
    try:
        given = disk.read(folder / ".env", os.environ)
    except (OSError, EnvFileError):
        given = {}  # the check of the file itself reports why
    yield from examine(
        DoctorContext(
            folder=folder.resolve(),
            env=os.environ,
            values=given,
            settings=settings,
            project=project,
            compose=find_compose(os.environ),
            now=datetime.now(UTC),
            lockouts=[
                warning("access", one.message, one.fix)
                for one in (lockouts(settings, time.time()) if settings else ())
            ],
            card=card,
        )
    )


def _needs_no_stack(read: object, folder: Path) -> bool:
    """Whether the folder has no Compose file, and no model needs one."""
    if any((folder / one).is_file() for one in COMPOSE_NAMES):
        return False
    if not isinstance(read, Settings):  # it has a problem of its own, which says enough
        return (folder / "hotseat.yaml").is_file()
    return all(model.launch.program is not None for model in read.models.values())


def _settings(file: Path, folder: Path) -> Settings | CheckResult:
    try:
        return config.load(file, stack_environment(folder, os.environ))
    except (config.ConfigError, ComposeFileError) as problem:
        return error("config", str(problem), f"hotseat check-config -c {file}")


def _project(folder: Path) -> ComposeModel | CheckResult:
    try:
        return read_project(compose_files(folder, stack_environment(folder, os.environ)), os.environ).project
    except ComposeFileError as problem:
        return error("compose files", str(problem), f"hotseat lint {folder}")
