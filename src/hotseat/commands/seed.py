"""``hotseat seed``: download models ahead of their first start."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from hotseat import config
from hotseat.commands import ExitCode
from hotseat.commands._errors import CommandFailed, InvalidConfig
from hotseat.commands._output import count
from hotseat.commands._stack import StackUnreadable, read_settings
from hotseat.config import ConfigError
from hotseat.core.spec import ModelSpec, Settings
from hotseat.installation import install_extra
from hotseat.stack.compose.compose_file import ComposeFileError
from hotseat.stack.compose.reading import read_project, stack_environment
from hotseat.weights.wanted import WantedFiles, hub_folder, of_command, parse, plain_folder

if TYPE_CHECKING:
    from hotseat.weights.hub import DownloadPlan, Hub


@click.command(
    "seed",
    epilog="""\b
Examples:
  hotseat seed -c hotseat.yaml --dry-run
  hotseat seed coder chat
  hotseat seed Qwen/Qwen2.5-Coder-3B-Instruct@488639f1ff808d1d3d0ba301aef8c11461451ec5

Needs the extra `seed`. HF_ENDPOINT selects another hub, HF_TOKEN is the
hub's token.

Exit status: 0 all models are there, 1 at least one is not, 2 wrong usage or configuration,
130 interrupted.""",
)
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@click.option(
    "-c",
    "--config",
    "file",
    metavar="FILE",
    help="The configuration that names the models. Default: the one that hotseat serve would read.",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="The cache folder; files go to DIR/huggingface/hub. Default: CACHE_DIR in the stack's .env, or else "
    "the folder that Hugging Face's tools use (HF_HUB_CACHE, HF_HOME).",
    metavar="DIR",
)
@click.option(
    "--token-file", type=click.File("r"), metavar="FILE", help="Read the hub's token from this file."
)
@click.option("--all-files", is_flag=True, help="Also download other formats of the same weights.")
@click.option("--verify", is_flag=True, help="Also verify the checksums of files that are already there.")
@click.option("--dry-run", is_flag=True, help="Only print what would be downloaded.")
def command(
    names: tuple[str, ...],
    file: str | None,
    cache: Path | None,
    token_file: TextIO | None,
    all_files: bool,
    verify: bool,
    dry_run: bool,
) -> None:
    """Download models into the Hugging Face cache, so that the first start does not have to.

    MODEL is OWNER/NAME on the hub, with @REVISION to pin a revision, or a model of the configuration.
    Without MODEL, downloads every model that the configuration's vLLM commands and containers use. Models
    that are already there are skipped, also in folders made with --local-dir. Downloaded files are verified
    against the hub's checksums. Ctrl-C is safe; run the command again to resume.
    """
    try:
        from hotseat.weights.hub import Hub
    except ImportError:
        raise CommandFailed(f"hotseat seed needs an extra package: {install_extra('seed')}") from None
    wanted, env = _wanted(names, file)
    if cache is None and env.get("CACHE_DIR"):
        cache = Path(env["CACHE_DIR"])
    folder = hub_folder(cache, env)
    token = token_file.read().strip() if token_file else None
    hub = Hub(
        folder,
        token or env.get("HF_TOKEN"),
        endpoint=env.get("HF_ENDPOINT"),
        quiet=not sys.stderr.isatty(),
    )
    folders = [folder] if cache is None else [cache, cache / "huggingface", folder]
    todo = []
    for one in wanted:
        if plain := plain_folder(folders, one):
            click.echo(f"{one}: already there as a plain folder. Serve it by its path: {plain}")
        else:
            todo.append(one)
    with _interruptible():
        ok = _seed(hub, todo, all_files=all_files, verify=verify, dry_run=dry_run)
    sys.exit(ExitCode.OK if ok else ExitCode.FAILED)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Exit at once on Ctrl-C and SIGTERM: an exception would wait for every download thread."""
    from hotseat.weights.hub import exit_now

    def handle(number: int, frame: object) -> None:
        click.echo("\nInterrupted. Complete files are kept; run the command again to resume.", err=True)
        exit_now(128 + number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _seed(hub: Hub, todo: list[WantedFiles], *, all_files: bool, verify: bool, dry_run: bool) -> bool:
    from hotseat.weights.hub import DownloadError

    ok = True
    plans: list[DownloadPlan] = []
    for one in todo:
        try:
            plan = hub.plan(one, everything=all_files)
        except DownloadError as error:
            click.echo(f"ERROR {error}", err=True)
            ok = False
            continue
        plans.append(plan)
        files = count(len(plan.files), "file")
        click.echo(
            f"{one}: {files}, {_size(plan.size)}, {_size(plan.missing)} to download, commit {plan.commit}"
        )
    missing, free = sum(plan.missing for plan in plans), hub.free_bytes()
    if missing:
        click.echo(f"Downloading {_size(missing)} to {hub.folder} ({_size(free)} free)")
    if missing > free:
        lacking = _size(missing - free)
        raise CommandFailed(
            f"not enough disk space in {hub.folder}: {lacking} more needed. Nothing was downloaded."
        )
    if dry_run:
        return ok
    for plan in plans:
        try:
            place = hub.fetch(plan)
            checked = hub.verify(plan) if plan.missing or verify else 0
        except DownloadError as error:
            click.echo(f"ERROR {error}", err=True)
            ok = False
            continue
        verified = f", {count(checked, 'checksum')} verified" if checked else ""
        click.echo(f"{plan.wanted}: ready{verified}: {place}")
    return ok


def _wanted(names: tuple[str, ...], file: str | None) -> tuple[list[WantedFiles], Mapping[str, str]]:
    """The models on the hub, each once, and the environment merged over the stack's ``.env``."""
    parsed = [(name, parse(name)) for name in names]
    if names and file is None and all(one for _, one in parsed):
        return list(dict.fromkeys(one for _, one in parsed if one)), os.environ
    try:
        path = Path(file if file is not None else config.find(os.environ))
        env = stack_environment(path.parent, os.environ)
    except ConfigError as error:
        raise InvalidConfig(error) from None
    except ComposeFileError as error:
        raise StackUnreadable(str(error)) from None
    settings = read_settings(path, path.parent)
    found: list[WantedFiles] = []
    if names:
        found.extend(one or _named(name, settings) for name, one in parsed)
    else:
        found.extend(_all(settings))
    return list(dict.fromkeys(found)), env


def _named(name: str, settings: Settings) -> WantedFiles:
    route = next((one for one in settings.routes if name in (one.name, *one.aliases)), None)
    model = settings.models.get(route.model if route else name)
    if model is None:
        raise StackUnreadable(
            f"{name!r} is neither OWNER/NAME nor a model of the configuration ({', '.join(settings.models)})"
        )
    wanted = _of_model(model)
    if wanted is None:
        raise StackUnreadable(f"{name}: its command names no model on the hub; use OWNER/NAME instead")
    return wanted


def _all(settings: Settings) -> Iterator[WantedFiles]:
    found = False
    for name, model in settings.models.items():
        wanted = _of_model(model)
        if wanted:
            found = True
            yield wanted
        else:
            click.echo(f"{name}: skipped, its command names no model on the hub", err=True)
    if not found:
        raise StackUnreadable("the configuration names no model on the hub; use OWNER/NAME")


def _of_model(model: ModelSpec) -> WantedFiles | None:
    launch = model.launch
    if launch.program is not None:
        return of_command(launch.program.command) if model.engine == "vllm" else None
    compose, container = launch.compose_project, launch.container_name
    if compose is None or container is None:
        return None
    try:
        project = read_project([Path(compose.file)], os.environ).project
    except ComposeFileError as error:
        raise StackUnreadable(str(error)) from None
    service = project.by_container(container)
    return of_command(service.command) if service else None


def _size(size: int) -> str:
    number = float(size)
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"
