"""What the benchmarks share: where results go, what is measured, and the model left as it was found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from hotseat.bench import results
from hotseat.bench.figures import told
from hotseat.bench.results import BenchResult, ResultsError
from hotseat.commands import ExitCode, _client
from hotseat.commands._client import LauncherClient
from hotseat.commands._errors import CommandFailed, InvalidConfig, LauncherUnreachable
from hotseat.config import ConfigError, read_state_dir

ORDER_WITHIN_S = 3600.0
"""A start or a stop that is measured is waited for so long; the launcher's own limits end it before."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def results_option(command: _Command) -> _Command:
    """``--results FILE``."""
    return click.option(
        "--results",
        "results_file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Where results are kept (JSON lines); by default bench.jsonl in the configuration's state_dir.",
    )(command)


def results_path(given: Path | None, config: str | None) -> Path:
    """The file of results."""
    if given is not None:
        return given
    try:
        return Path(read_state_dir(config, os.environ)) / results.NAME
    except ConfigError as error:
        raise InvalidConfig(error) from None


def writable(file: Path) -> None:
    """Fail before the work rather than after it. Raises ``CommandFailed``."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a", encoding="utf-8"):
            pass
    except OSError as error:
        raise CommandFailed(
            f"{file} cannot be written ({error.strerror}): name another with --results"
        ) from None


def keep(file: Path, result: BenchResult) -> None:
    """Add a result to the file. Raises ``CommandFailed``."""
    try:
        results.add(file, result)
    except ResultsError as error:
        raise CommandFailed(str(error)) from None
    whole = "" if result.complete else ", marked as incomplete"
    click.echo(f"Kept as {result.id} in {file}{whole}.")


def say_figures(result: BenchResult) -> None:
    """One line with all figures."""
    click.echo("  " + ", ".join(f"{name} {told(name, value)}" for name, value in result.figures.items()))


class BenchedModel:
    """The model that is measured, through the running launcher."""

    def __init__(self, running: LauncherClient, name: str) -> None:
        """Asks what it is. Raises ``CommandFailed`` and ``LauncherUnreachable``."""
        self.running = running
        self.launch = running.get(f"/admin/launch/{_client.segment(name)}")
        self.model = str(self.launch.get("model", name))

    def stats(self) -> Mapping[str, Any]:
        """Its part of ``/stats``."""
        return self._all().get(self.model, {})

    def _all(self) -> Mapping[str, Mapping[str, Any]]:
        models = self.running.get("/stats").get("models")
        return models if isinstance(models, dict) else {}

    def ready_ones(self) -> set[str]:
        """The other models that are ready."""
        return {name for name, one in self._all().items() if one.get("state") == "ready"} - {self.model}

    def order(self, verb: str, *, wait: bool = True, **more: Any) -> Mapping[str, Any]:
        """``start`` or ``stop``; the model as it is then.

        Raises ``CommandFailed`` and ``LauncherUnreachable``.
        """
        body = {"route": self.model, "wait": wait, **more}
        return self.running.post(f"/admin/{verb}", body, ORDER_WITHIN_S)

    def what(self) -> str:
        """``coder (process: vllm)``."""
        of = self.launch.get("image") or self.launch.get("target")
        return f"{self.model} ({self.launch.get('runtime')}: {of})"


@contextmanager
def left_as_found(subject: BenchedModel) -> Iterator[None]:
    """What the model was before, it is afterwards: stopped, asleep or ready; also when interrupted.

    Interrupted, the orders are given and not waited for. Ends the program with 130 then.
    """
    before = str(subject.stats().get("state"))
    others = subject.ready_ones()
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        _restore(subject, before, others, wait=False)
        raise SystemExit(ExitCode.INTERRUPTED) from None
    except (CommandFailed, LauncherUnreachable):
        _restore(subject, before, others, wait=False)
        raise
    _restore(subject, before, others, wait=True)


def _restore(subject: BenchedModel, before: str, others: set[str], *, wait: bool) -> None:
    now = str(subject.stats().get("state"))
    try:
        if before in ("ready", "starting", "waking"):
            if now not in ("ready", "starting", "waking"):
                subject.order("start", wait=wait)
                click.echo(f"{subject.model} is started again: it was {before} before.")
        elif before in ("asleep", "suspending"):
            if now not in ("asleep", "suspending"):
                subject.order("stop", wait=wait, sleep=True)
                click.echo(f"{subject.model} is put to sleep again.")
        elif now not in ("stopped", "stopping", "backoff"):
            subject.order("stop", wait=wait)
            click.echo(f"{subject.model} is stopped again: it was {before} before.")
        if gone := sorted(others - subject.ready_ones()):
            click.echo(f"Made room for it and not started again: {', '.join(gone)}.")
    except (CommandFailed, LauncherUnreachable) as problem:
        click.echo(
            f"{subject.model} was {before} before and is not now: {problem.format_message()}", err=True
        )
