"""``hotseat bench report``: results as tables and charts, and checks of the latest ones."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from hotseat.bench import judgement, results
from hotseat.bench.figures import FIGURES, format_figure
from hotseat.bench.judgement import Verdict
from hotseat.bench.results import BenchResult, ResultsError, ResultsFile
from hotseat.commands import ExitCode
from hotseat.commands._bench import results_option, results_path
from hotseat.commands._errors import CommandFailed, InvalidConfig
from hotseat.commands._output import echo_json, table
from hotseat.config import ConfigError, read_levels
from hotseat.installation import install_extra

CHARTS = ("start_p50", "tokens_per_s", "ttft_p50", "itl_p50")


class Tolerance(click.ParamType[float]):
    """A share: ``10%`` or ``0.1``."""

    name = "tolerance"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d{1,4}(?:\.\d{1,4})?)\s*(%?)", str(value).strip(), re.ASCII)
        if match is None:
            self.fail("expected a share such as 10% or 0.1", param, ctx)
        return float(match[1]) / (100 if match[2] else 1)


@click.command(
    "report",
    epilog="""\b
Results are comparable if model, benchmark, state or concurrency, and machine (processor, cores, GPUs) are the
same. Command, image and hotseat's version may differ; differences are printed. --compare looks at medians and
tokens per second. Incomplete results are shown but not used.

\b
Examples:
  hotseat bench report
  hotseat bench report --accept
  hotseat bench report --compare --tolerance 15% --slo hotseat.yaml
  hotseat bench report --plot pictures/

Exit status: 0 all checks passed, 1 a check failed or there is nothing to check, 2 wrong usage or
configuration.""",
)
@click.option("--model", "only", metavar="MODEL", help="Only show results of this model.")
@click.option(
    "--last",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Show at most this many rows per table.",
)
@click.option("--accept", is_flag=True, help="Accept the latest result of each series as the baseline.")
@click.option("--compare", is_flag=True, help="Compare the latest results with the accepted ones.")
@click.option(
    "--tolerance",
    type=Tolerance(),
    default="10%",
    show_default=True,
    metavar="SHARE",
    help="With --compare: how much worse a result may be.",
)
@click.option(
    "--slo",
    "slo_file",
    metavar="FILE",
    help="Check the latest results against the service levels (slo:) in this file, such as hotseat.yaml.",
)
@click.option(
    "--plot",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Draw charts of the results over time as SVG files. Needs the extra `bench`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print results and checks as JSON.")
@results_option
@click.option(
    "-c",
    "--config",
    metavar="FILE",
    help="The configuration whose state_dir holds the results. [env: HOTSEAT_CONFIG]",
)
def command(
    only: str | None,
    last: int,
    accept: bool,
    compare: bool,
    tolerance: float,
    slo_file: str | None,
    folder: Path | None,
    as_json: bool,
    results_file: Path | None,
    config: str | None,
) -> None:
    """Show the results of benchmarks, and check the latest of each series."""
    file = results_path(results_file, config)
    limits = _limits(slo_file)
    found = _read(file)
    if only is not None:
        found = replace(found, all=[one for one in found.all if one.model == only])
    if not found.all:
        raise CommandFailed(
            f"{file} contains no results{f' of {only}' if only else ''}: run hotseat bench start MODEL first"
        )
    latest = [line[-1] for line in found.series().values()]
    verdicts: list[Verdict] = []
    notes: list[str] = []
    troubles: list[str] = []
    if compare:
        _compare(found, latest, tolerance, verdicts, notes, troubles)
    if limits is not None:
        _check_levels(latest, limits, verdicts, troubles)
    if as_json:
        rows = [{**one.as_dict(), "accepted": one.id in found.accepted} for one in found.all]
        judged = [_as_dict(one) for one in verdicts]
        echo_json({"results": rows, "verdicts": judged, "notes": notes, "troubles": troubles})
    else:
        click.echo(render(found, last))
        if verdicts:
            click.echo("\n" + "\n".join([*(_line(one) for one in verdicts), *notes]))
        for trouble in troubles:
            click.echo(f"FAILED  {trouble}", err=True)
    if folder is not None:
        _draw(found, folder, quiet=as_json)
    failed = bool(troubles) or not all(one.ok for one in verdicts)
    if accept:
        _accept(file, latest, failed, quiet=as_json)
    sys.exit(ExitCode.FAILED if failed else ExitCode.OK)


def _read(file: Path) -> ResultsFile:
    try:
        return results.read(file)
    except ResultsError as error:
        raise CommandFailed(str(error)) from None


def _limits(file: str | None) -> tuple[Mapping[str, float], Mapping[str, Mapping[str, float]]] | None:
    try:
        return None if file is None else read_levels(file, os.environ)
    except ConfigError as error:
        raise InvalidConfig(error) from None


def _compare(
    found: ResultsFile,
    latest: Sequence[BenchResult],
    tolerance: float,
    verdicts: list[Verdict],
    notes: list[str],
    troubles: list[str],
) -> None:
    for one in latest:
        accepted = found.accepted_before(one)
        if accepted is not None:
            verdicts.extend(judgement.compare(accepted, one, tolerance))
            notes.extend(f"{one.title}: {words}" for words in judgement.differences(accepted, one))
        elif one.id not in found.accepted:
            troubles.append(f"{one.title}: no accepted result to compare with; use --accept first")


def _check_levels(
    latest: Sequence[BenchResult],
    limits: tuple[Mapping[str, float], Mapping[str, Mapping[str, float]]],
    verdicts: list[Verdict],
    troubles: list[str],
) -> None:
    top, own = limits
    judged: set[tuple[str | None, str]] = set()
    for one in latest:
        mine = own.get(one.model, {})
        found = judgement.check_levels(one, {**top, **mine})
        verdicts.extend(found)
        judged |= {(one.model if verdict.measure in mine else None, verdict.measure) for verdict in found}
    wanted = {(None, name) for name in top} | {(model, name) for model, some in own.items() for name in some}
    for model, name in sorted(wanted - judged, key=str):
        of = f" of {model}" if model else ""
        troubles.append(f"{name}{of}: no result has this figure")


def render(found: ResultsFile, last: int) -> str:
    """A table for each benchmark."""
    parts = []
    for kind, columns in _COLUMNS.items():
        some = [one for one in found.all if one.kind == kind][-last:]
        if some:
            rows = [_row(one, columns, one.id in found.accepted) for one in some]
            head = ["AT", "WHAT", "RUNS", *columns.values(), "HOTSEAT", "NOTE"]
            parts.append(table(head, rows))
    return "\n\n".join(parts)


_COLUMNS = {
    "start": {"start_p50": "P50", "start_p95": "P95", "start_p99": "P99"},
    "throughput": {
        "tokens_per_s": "TOKENS/S",
        "stream_tokens_per_s": "PER STREAM",
        "ttft_p50": "TTFT P50",
        "ttft_p99": "TTFT P99",
        "itl_p50": "ITL P50",
        "itl_p99": "ITL P99",
    },
}


def _row(one: BenchResult, columns: Mapping[str, str], accepted: bool) -> list[str]:
    values = [format_figure(name, one.figures[name]) if name in one.figures else "" for name in columns]
    note = ", ".join(word for word, so in (("accepted", accepted), ("incomplete", not one.complete)) if so)
    at = one.at[:16].replace("T", " ")
    return [at, one.title, str(len(one.runs)), *values, str(one.launch.get("hotseat", "")), note]


def _line(one: Verdict) -> str:
    figure = FIGURES[one.measure]
    value, limit = format_figure(one.measure, one.value), format_figure(one.measure, one.limit)
    if one.change is not None:
        against = f"accepted {limit} ({one.change:+.1%})"
    else:
        against = f"{'at least' if figure.more_is_better else 'at most'} {limit}"
    return f"{'ok    ' if one.ok else 'FAILED'}  {one.result.title}: {figure.title} {value}, {against}"


def _as_dict(one: Verdict) -> dict[str, Any]:
    return {
        "id": one.result.id,
        "what": one.result.title,
        "measure": one.measure,
        "value": one.value,
        "against": "slo" if one.change is None else "accepted",
        "limit": one.limit,
        "change": one.change,
        "ok": one.ok,
    }


def _draw(found: ResultsFile, folder: Path, *, quiet: bool) -> None:
    try:
        from hotseat.bench.charts import draw
    except ImportError:
        raise CommandFailed(f"--plot needs an extra package: {install_extra('bench')}") from None
    try:
        files = [file for name in CHARTS if (file := draw(found, name, folder)) is not None]
    except OSError as error:
        raise CommandFailed(f"{folder} cannot be written: {error.strerror}") from None
    if not quiet:
        click.echo("\n" + "\n".join(f"Drawn: {file}" for file in files))


def _accept(file: Path, latest: Sequence[BenchResult], failed: bool, *, quiet: bool) -> None:
    if failed:
        click.echo(
            "Nothing was accepted: a check failed. To accept anyway, leave out --compare and --slo.", err=True
        )
        return
    if not latest:
        raise CommandFailed("there is no complete result to accept")
    try:
        results.accept(file, [one.id for one in latest])
    except ResultsError as error:
        raise CommandFailed(str(error)) from None
    if not quiet:
        click.echo("\n" + "\n".join(f"Accepted: {one.title} ({one.id})" for one in latest))
