"""``hotseat bench start``: how long a model takes to be ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from hotseat import machine
from hotseat.bench import page_cache
from hotseat.bench.figures import quantiles
from hotseat.bench.page_cache import CannotDrop
from hotseat.bench.results import BenchResult
from hotseat.commands import _client
from hotseat.commands._bench import (
    BenchedModel,
    keep,
    left_as_found,
    results_option,
    results_path,
    say_figures,
    writable,
)
from hotseat.commands._errors import CommandFailed

_GONE = "its process has ended"
_STOPPED = "its container exists and is stopped"
_MEANING = {
    "cold": "the machine's page cache was dropped; compile caches on the disk are kept: as after a reboot",
    "warm": "started once before, so its files may lie in the page cache, and compile caches are there",
    "wake": "it runs and sleeps; its caches are of no importance",
}
"""What each state means for the files that it reads."""


@click.command(
    "start",
    epilog="""\b
States, made before every run:
  warm  stopped (its container too, which is kept), after one start that does not count
  cold  as warm, and then the page cache of the machine is dropped: needs root, and the launcher's machine.
        Compile caches on the disk are kept, as they are over a reboot; to measure without them, remove
        them yourself before each of several benches with --runs 1
  wake  asleep (needs sleep in the configuration), after one start that does not count

\b
Examples:
  hotseat bench start coder --runs 5
  sudo -E hotseat bench start coder --cold

Exit status: 0 measured and kept, 1 it did not work, 2 wrong usage, 3 no launcher answers, 130 interrupted
(the runs so far are kept, marked as incomplete).""",
)
@click.argument("name", metavar="MODEL")
@click.option("--runs", type=click.IntRange(1, 1000), default=3, show_default=True, help="Starts to measure.")
@click.option("--warm", "state", flag_value="warm", default=True, help="See below; the default.")
@click.option("--cold", "state", flag_value="cold", help="See below.")
@click.option("--wake", "state", flag_value="wake", help="See below.")
@results_option
@_client.options
def command(
    name: str, runs: int, state: str, results_file: Path | None, url: str | None, config: str | None
) -> None:
    """Measure starts of MODEL: from the launch to the first health check that passes.

    A model that is in use is left alone. Afterwards it is as it was before; a model that had to make
    room for it is named.
    """
    file = results_path(results_file, config)
    writable(file)
    subject = BenchedModel(_client.connect(url, config), name)
    if (before := subject.stats()) and (users := before.get("in_flight", 0) + before.get("waiting", 0)):
        raise CommandFailed(f"{subject.model} is in use ({users} requests): nothing was measured")
    prepare = _preparation(subject, state)
    how = {"state": state, "server": _server(subject, state), "files": _MEANING[state]}
    click.echo(f"{subject.what()}: {runs} {state} starts. Each time: {how['server']}; {how['files']}.")
    measured: list[dict[str, Any]] = []
    complete = False

    def kept() -> None:
        if measured:
            seconds = [one["seconds"] for one in measured]
            result = BenchResult(
                kind="start",
                model=subject.model,
                how=how,
                figures=quantiles("start", seconds),
                runs=measured,
                launch=subject.launch,
                complete=complete,
            )
            say_figures(result)
            keep(file, result)

    with left_as_found(subject):
        try:
            if state != "cold":  # nothing of this start would be left in the page cache
                subject.order("start")
            for number in range(1, runs + 1):
                prepare()
                took_s = _took(subject.order("start"), state)
                measured.append({"seconds": took_s})
                click.echo(f"  {number:>4}  {took_s:.3f} s")
            complete = True
        finally:
            kept()


def _server(subject: BenchedModel, state: str) -> str:
    if state == "wake":
        return "it is asleep"
    return _STOPPED if subject.launch.get("runtime") == "docker" else _GONE


def _preparation(subject: BenchedModel, state: str) -> Callable[[], None]:
    """What makes the state; raises ``CommandFailed`` now where that cannot be made at all."""
    if state == "wake":
        if not subject.launch.get("sleeps"):
            raise CommandFailed(f"{subject.model} does not sleep: configure sleep for it")
        return lambda: _put_to_sleep(subject)
    if state == "warm":
        return lambda: _stop(subject)
    here = subject.launch.get("machine", {}).get("boot")
    if here is None or here != machine.facts()["boot"]:
        raise CommandFailed(
            "--cold drops the page cache of this machine, and the launcher runs on another: run it there"
        )
    try:
        page_cache.may_drop()
    except CannotDrop as error:
        raise CommandFailed(f"--cold: {error}. Nothing was measured") from None

    def make_cold() -> None:
        _stop(subject)
        try:
            page_cache.drop()
        except CannotDrop as error:
            raise CommandFailed(f"--cold: {error}") from None

    return make_cold


def _stop(subject: BenchedModel) -> None:
    state = subject.order("stop").get("state")
    if state not in ("stopped", "backoff"):
        raise CommandFailed(f"{subject.model} is {state} and not stopped: somebody else uses it")


def _put_to_sleep(subject: BenchedModel) -> None:
    answer = subject.order("stop", sleep=True)
    if answer.get("state") != "asleep":
        why = (answer.get("last_error") or {}).get("summary")
        raise CommandFailed(
            f"{subject.model} is {answer.get('state')} and not asleep" + (f": {why}" if why else "")
        )


def _took(answer: Mapping[str, Any], state: str) -> float:
    """What the launcher measured of the start that has just ended. Raises ``CommandFailed``."""
    came_from = "waking" if state == "wake" else "starting"
    move = answer.get("last_move") or {}
    starts = answer.get("spin_up_s") or []
    if (
        answer.get("state") != "ready"
        or not starts
        or (move.get("was"), move.get("cause"))
        != (
            came_from,
            "probe_passed",
        )
    ):
        raise CommandFailed("somebody else started or stopped it meanwhile: this run does not count")
    return float(starts[-1])
