"""``hotseat simulate``: the scheduler on a virtual clock, compared with simpler policies."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from hotseat.commands._errors import CommandFailed, InvalidConfig
from hotseat.commands._output import echo_json, table
from hotseat.config import ConfigError, load
from hotseat.core.spec import Settings
from hotseat.simulation.compare import WAYS, Comparison, compare
from hotseat.simulation.scenarios import SCENARIOS
from hotseat.simulation.trace import TraceError, read_trace
from hotseat.simulation.traffic import Scenario, SwapCost
from hotseat.telemetry.history import FILE as HISTORY_FILE
from hotseat.telemetry.history import History, StartKind

UNKNOWN_START_S = 45.0
"""Start time of a model that was never measured."""


@click.command(
    "simulate",
    epilog="""\b
Examples:
  hotseat simulate                          all scenarios
  hotseat simulate office --by-model
  hotseat simulate --trace day.jsonl -c hotseat.yaml --start-seconds 60

A trace is hotseat's own access log (the standard output of hotseat serve), or one JSON object per line:
{"at": 12.5, "model": "chat", "seconds": 3.2}, with the time of the request (in seconds, or as an ISO time)
and how long its answer took.

Exit status: 0 done, 1 invalid trace, 2 wrong usage or configuration.""",
)
@click.argument("scenarios", nargs=-1, type=click.Choice(list(SCENARIOS)), metavar="[SCENARIO…]")
@click.option("--list", "listing", is_flag=True, help="List the scenarios and exit.")
@click.option(
    "--way",
    "ways",
    multiple=True,
    type=click.Choice(list(WAYS)),
    help="Only simulate this policy; repeatable.",
)
@click.option("--by-model", is_flag=True, help="Also print a line for each model.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the generated traffic.")
@click.option(
    "--trace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Simulate this recorded traffic.",
)
@click.option(
    "-c",
    "--config",
    metavar="FILE",
    help="With --trace: the configuration with models and budget. [env: HOTSEAT_CONFIG]",
)
@click.option(
    "--start-seconds",
    type=float,
    help=f"With --trace: start time of each model. Default: as measured before, or {UNKNOWN_START_S:g}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    scenarios: tuple[str, ...],
    listing: bool,
    ways: tuple[str, ...],
    by_model: bool,
    seed: int,
    trace: Path | None,
    config: str | None,
    start_seconds: float | None,
    as_json: bool,
) -> None:
    """Compare scheduling policies for one GPU on generated or recorded traffic.

    The column "of offline" compares the total waiting time with an estimate of the minimum, which a
    scheduler could reach that knows all requests in advance.
    """
    if listing:
        click.echo("\n".join(f"{name:14} {make(seed).about}" for name, make in SCENARIOS.items()))
        return
    if trace is not None:
        chosen = [_recorded(trace, config, start_seconds)]
    else:
        chosen = [SCENARIOS[name](seed) for name in scenarios or SCENARIOS]
    found = [compare(scenario, ways or tuple(WAYS)) for scenario in chosen]
    if as_json:
        echo_json([_as_json(comparison, by_model) for comparison in found])
    else:
        click.echo("\n\n".join(_as_text(comparison, by_model) for comparison in found))


def _recorded(trace: Path, config: str | None, start_s: float | None) -> Scenario:
    try:
        settings = load(config, os.environ)
    except ConfigError as error:
        raise InvalidConfig(error) from None
    try:
        with trace.open(encoding="utf-8") as lines:
            return read_trace(lines, settings.scheduler, _costs(settings, start_s))
    except (TraceError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{trace}: {error}") from None


def _costs(settings: Settings, start_s: float | None) -> dict[str, SwapCost]:
    """Start and wake times of each model: as given, as measured, or a default."""
    kept = Path(settings.serve.state_dir, HISTORY_FILE)
    history = History(kept if kept.exists() else None, lambda trouble: None)
    try:
        return {
            name: SwapCost(
                start_s=start_s or history.eta_s(name, StartKind.COLD) or UNKNOWN_START_S,
                wake_s=history.eta_s(name, StartKind.WAKE) or SwapCost(0).wake_s,
            )
            for name in settings.models
        }
    finally:
        history.close()


def _as_text(comparison: Comparison, by_model: bool) -> str:
    scenario = comparison.scenario
    head = (
        "way",
        "model",
        "answered",
        "p50 s",
        "p99 s",
        "max s",
        "waited s",
        "of offline",
        "starts",
        "serving",
    )
    rows = []
    for line in comparison.lines(by_model=by_model):
        numbers = [str(line.answered)] + [
            f"{seconds:.1f}" for seconds in (line.p50_s, line.p99_s, line.max_s, line.total_wait_s)
        ]
        outcome, bound = comparison.outcomes[line.way], comparison.offline_wait_s
        if line.model:
            rows.append(["", line.model, *numbers, "", "", ""])
            continue
        ratio = f"{line.total_wait_s / bound:.2f}" if bound else ""
        rows.append(
            [
                line.way,
                "all",
                *numbers,
                ratio,
                str(outcome.starts),
                f"{outcome.serving_s / outcome.took_s:.0%}",
            ]
        )
        if outcome.refused + outcome.unanswered + outcome.broken:
            lost = f"{outcome.refused} refused, {outcome.broken} cut off, {outcome.unanswered} not answered"
            rows.append(["", lost, *[""] * 8])
    return f"{scenario.name}: {scenario.about}\n{table(head, rows)}"


def _as_json(comparison: Comparison, by_model: bool) -> dict[str, object]:
    ways = {
        way: {
            "starts": outcome.starts,
            "wakes": outcome.wakes,
            "serving_s": outcome.serving_s,
            "took_s": outcome.took_s,
            "refused": outcome.refused,
            "cut_off": outcome.broken,
            "unanswered": outcome.unanswered,
        }
        for way, outcome in comparison.outcomes.items()
    }
    return {
        "scenario": comparison.scenario.name,
        "offline_wait_s": comparison.offline_wait_s,
        "ways": ways,
        "lines": [asdict(line) for line in comparison.lines(by_model=by_model)],
    }
