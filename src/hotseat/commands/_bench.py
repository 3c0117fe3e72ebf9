"""Shared by the benchmarks: the file of results, the model under test, and restoring its state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from hotseat.admin.schema import (
    LaunchResponse,
    ModelResponse,
    ModelStatus,
    StartRequest,
    StatsResponse,
    StopRequest,
)
from hotseat.bench import results
from hotseat.bench.figures import format_figure
from hotseat.bench.results import BenchResult, ResultsError
from hotseat.commands import ExitCode
from hotseat.commands._client import LauncherClient, path_segment
from hotseat.commands._errors import CommandFailed, InvalidConfig, LauncherUnreachable
from hotseat.config import ConfigError, read_state_dir

ORDER_TIMEOUT_S = 3600.0
"""Limit for one start or stop; the launcher's own limits are shorter."""

_RUNNING = ("ready", "starting", "waking")
_SLEEPING = ("asleep", "suspending")
_STOPPED = ("stopped", "stopping", "backoff", "")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def results_option(command: _Command) -> _Command:
    """``--results FILE``: the file of results."""
    return click.option(
        "--results",
        "results_file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="File with the results (JSON lines). Default: bench.jsonl in the configuration's state_dir.",
    )(command)


def results_path(given: Path | None, config: str | None) -> Path:
    """The file of results: ``given``, or the default. Raises ``InvalidConfig``."""
    if given is not None:
        return given
    try:
        return Path(read_state_dir(config, os.environ)) / results.NAME
    except ConfigError as error:
        raise InvalidConfig(error) from None


def check_writable(file: Path) -> None:
    """Fail before the benchmark rather than after it. Raises ``CommandFailed``."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a", encoding="utf-8"):
            pass
    except OSError as error:
        raise CommandFailed(
            f"{file} cannot be written ({error.strerror}): choose another file with --results"
        ) from None


def save(file: Path, result: BenchResult) -> None:
    """Append a result to the file. Raises ``CommandFailed``."""
    try:
        results.add(file, result)
    except ResultsError as error:
        raise CommandFailed(str(error)) from None
    incomplete = "" if result.complete else ", marked as incomplete"
    click.echo(f"Saved as {result.id} in {file}{incomplete}.")


def echo_figures(result: BenchResult) -> None:
    """Print all figures in one line."""
    figures = [f"{name} {format_figure(name, value)}" for name, value in result.figures.items()]
    click.echo("  " + ", ".join(figures))


class BenchedModel:
    """The model under test, seen and controlled through the running launcher."""

    def __init__(self, running: LauncherClient, name: str) -> None:
        """Asks how the model is launched. Raises ``CommandFailed`` and ``LauncherUnreachable``."""
        self.running = running
        self.launch = running.get(f"/admin/launch/{path_segment(name)}", LaunchResponse)
        self.model = self.launch.model

    def status(self) -> ModelStatus | None:
        """The model in ``/stats``; ``None`` when it is no longer configured."""
        return self._all().get(self.model)

    def state(self) -> str:
        """The model's state; empty when it is no longer configured."""
        status = self.status()
        return status.state if status else ""

    def _all(self) -> Mapping[str, ModelStatus]:
        return self.running.get("/stats", StatsResponse).models

    def ready_others(self) -> set[str]:
        """The other models that are ready."""
        return {name for name, one in self._all().items() if one.state == "ready"} - {self.model}

    def start(self, *, wait: bool = True) -> ModelResponse:
        """Start the model. Raises ``CommandFailed`` and ``LauncherUnreachable``."""
        order = StartRequest(route=self.model, wait=wait)
        return self.running.post("/admin/start", order, ModelResponse, ORDER_TIMEOUT_S)

    def stop(self, *, wait: bool = True, sleep: bool = False) -> ModelResponse:
        """Stop the model, or put it to sleep. Raises ``CommandFailed`` and ``LauncherUnreachable``."""
        order = StopRequest(route=self.model, wait=wait, sleep=sleep)
        return self.running.post("/admin/stop", order, ModelResponse, ORDER_TIMEOUT_S)

    def title(self) -> str:
        """``coder (process: vllm)``."""
        return f"{self.model} ({self.launch.runtime}: {self.launch.image or self.launch.target})"

    def launch_record(self) -> dict[str, Any]:
        """The launch of the model as plain JSON values, for a result."""
        record: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self.launch))
        return record


@contextmanager
def restored(subject: BenchedModel) -> Iterator[None]:
    """Bring the model back to its state at the beginning (stopped, asleep or ready), also when interrupted.

    After an interrupt, the orders are sent without waiting for them and the program ends with status 130.
    """
    before, others = subject.state(), subject.ready_others()
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
    try:
        now = subject.state()
        if before in _RUNNING:
            if now not in _RUNNING:
                subject.start(wait=wait)
                click.echo(f"{subject.model} is started again, as before.")
        elif before in _SLEEPING:
            if now not in _SLEEPING:
                subject.stop(wait=wait, sleep=True)
                click.echo(f"{subject.model} is put to sleep again, as before.")
        elif now not in _STOPPED:
            subject.stop(wait=wait)
            click.echo(f"{subject.model} is stopped again, as before.")
        if evicted := sorted(others - subject.ready_others()):
            click.echo(f"Evicted by the benchmark and not started again: {', '.join(evicted)}.")
    except (CommandFailed, LauncherUnreachable) as error:
        click.echo(
            f"{subject.model} could not be brought back to {before}: {error.format_message()}", err=True
        )
