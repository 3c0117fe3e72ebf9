"""``hotseat bench start``: how long a model takes to become ready."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hotseat import machine
from hotseat.admin.schema import ModelResponse
from hotseat.bench import page_cache
from hotseat.bench.figures import quantiles
from hotseat.bench.page_cache import CannotDrop
from hotseat.bench.results import BenchResult
from hotseat.commands import _options
from hotseat.commands._bench import (
    BenchedModel,
    check_writable,
    echo_figures,
    restored,
    results_option,
    results_path,
    save,
)
from hotseat.commands._errors import CommandFailed
from hotseat.commands._output import count

_GONE = "its process has ended"
_STOPPED = "its container exists and is stopped"
_CACHES = {
    "cold": "the machine's page cache was dropped; compile caches on the disk are kept: as after a reboot",
    "warm": "started once before, so its files may lie in the page cache, and compile caches are there",
    "wake": "it runs and sleeps; its caches are of no importance",
}
"""Caches that a start from each state finds.

These texts are saved as parameters of the results: another wording would make new results incomparable.
"""


@click.command(
    "start",
    epilog="""\b
The state that every start begins from:
  warm  stopped (a container is kept), after one start that does not count
  cold  stopped, with the machine's page cache dropped. Needs root, on the launcher's machine. Compile
        caches on disk are kept, as over a reboot; to measure without them, delete them before each
        benchmark and use --runs 1
  wake  asleep, after one start that does not count. Needs sleep in the configuration

\b
Examples:
  hotseat bench start coder --runs 5
  sudo -E hotseat bench start coder --cold

Exit status: 0 measured and saved, 1 failed, 2 wrong usage, 3 no launcher answers, 130 interrupted (the
runs so far are saved, marked as incomplete).""",
)
@click.argument("name", metavar="MODEL")
@click.option(
    "--runs", type=click.IntRange(1, 1000), default=3, show_default=True, help="Number of starts to measure."
)
@click.option(
    "--warm", "state", flag_value="warm", default=True, help="Warm starts (the default); see below."
)
@click.option("--cold", "state", flag_value="cold", help="Cold starts; see below.")
@click.option("--wake", "state", flag_value="wake", help="Wakes from sleep; see below.")
@results_option
@_options.launcher_options
def command(
    name: str, runs: int, state: str, results_file: Path | None, url: str | None, config: str | None
) -> None:
    """Measure start times of MODEL, from launch to the first passed health check.

    Refuses to measure a model that is in use. Afterwards the model is brought back to its state before;
    models that were evicted for it are listed, and not started again.
    """
    file = results_path(results_file, config)
    check_writable(file)
    subject = BenchedModel(_options.connect(url, config), name)
    if (before := subject.status()) and (requests := before.in_flight + before.waiting):
        in_use = f"in use ({count(requests, 'request')})"
        raise CommandFailed(f"{subject.model} is {in_use}: nothing was measured")
    prepare = _preparation(subject, state)
    how = {"state": state, "server": _server(subject, state), "files": _CACHES[state]}
    starts = count(runs, f"{state} start")
    click.echo(f"{subject.title()}: {starts}. Before each: {how['server']}; {how['files']}.")
    measured: list[dict[str, Any]] = []
    complete = False

    def save_result() -> None:
        if measured:
            seconds = [one["seconds"] for one in measured]
            result = BenchResult(
                kind="start",
                model=subject.model,
                how=how,
                figures=quantiles("start", seconds),
                runs=measured,
                launch=subject.launch_record(),
                complete=complete,
            )
            echo_figures(result)
            save(file, result)

    with restored(subject):
        try:
            if state != "cold":  # its page cache would be dropped anyway
                subject.start()
            for number in range(1, runs + 1):
                prepare()
                took_s = _took(subject.start(), state)
                measured.append({"seconds": took_s})
                click.echo(f"  {number:>4}  {took_s:.3f} s")
            complete = True
        finally:
            save_result()


def _server(subject: BenchedModel, state: str) -> str:
    if state == "wake":
        return "it is asleep"
    return _STOPPED if subject.launch.runtime == "docker" else _GONE


def _preparation(subject: BenchedModel, state: str) -> Callable[[], None]:
    """A function that brings the model into the state. Raises ``CommandFailed`` if that is impossible."""
    if state == "wake":
        if not subject.launch.sleeps:
            raise CommandFailed(f"{subject.model} cannot sleep: set sleep for it in the configuration")
        return lambda: _put_to_sleep(subject)
    if state == "warm":
        return lambda: _stop(subject)
    boot = subject.launch.machine.boot
    if boot is None or boot != machine.facts()["boot"]:
        raise CommandFailed(
            "--cold drops the page cache of this machine, but the launcher runs on another one: run it there"
        )
    try:
        page_cache.check_droppable()
    except CannotDrop as error:
        raise CommandFailed(f"--cold: {error}. Nothing was measured.") from None

    def make_cold() -> None:
        _stop(subject)
        try:
            page_cache.drop()
        except CannotDrop as error:
            raise CommandFailed(f"--cold: {error}") from None

    return make_cold


def _stop(subject: BenchedModel) -> None:
    state = subject.stop().state
    if state not in ("stopped", "backoff"):
        raise CommandFailed(f"{subject.model} is {state}, not stopped: somebody else is using it")


def _put_to_sleep(subject: BenchedModel) -> None:
    model = subject.stop(sleep=True)
    if model.state != "asleep":
        why = f": {model.last_error.summary}" if model.last_error else ""
        raise CommandFailed(f"{subject.model} is {model.state}, not asleep{why}")


def _took(model: ModelResponse, state: str) -> float:
    """Seconds that the start that has just ended took, as measured by the launcher.

    Raises ``CommandFailed`` when the model's state does not come from that start.
    """
    expected = ("waking" if state == "wake" else "starting", "probe_passed")
    move = model.last_move
    if model.state != "ready" or not model.spin_up_s or move is None or (move.was, move.cause) != expected:
        raise CommandFailed("somebody else started or stopped the model meanwhile: this run does not count")
    return model.spin_up_s[-1]
