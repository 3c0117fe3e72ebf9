"""Figures as JSON lines, as a table for the terminal, and as Markdown."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measure import median

REFERENCE = "nginx"

GOALS: dict[str, tuple[str, float]] = {
    "requests_32.cpu_us_per_request": ("times nginx", 3.0),
    "streams_64.cpu_us_per_chunk": ("times nginx", 1.8),
    "streams_64.added_p50_us": ("at most", 1000),
    "streams_64.added_p99_us": ("at most", 5000),
    "memory.rest_mib": ("at most", 70),
    "memory.per_stream_kib": ("at most", 20),
    "memory.growth_mib": ("at most", 5),
    "streams_5000.errors": ("at most", 0),
    "readiness.p50_ms": ("at most", 10),
    "startup.1_models_s": ("at most", 0.5),
}
"""Goals of hotseat, by metric."""

Figures = Mapping[str, Mapping[str, list[float]]]


def write_lines(path: Path, machine: Mapping[str, object], figures: Figures) -> None:
    """Write a line for the machine, then one for each metric and target with the values of all rounds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(json.dumps({"machine": machine, "taken": time.strftime("%Y-%m-%dT%H:%M:%S%z")}) + "\n")
        for metric, by_target in figures.items():
            for target, values in by_target.items():
                line = {"metric": metric, "target": target, "median": median(values), "rounds": values}
                file.write(json.dumps(line) + "\n")


def read_lines(path: Path) -> tuple[dict[str, object], dict[str, dict[str, list[float]]]]:
    """Read the machine and the figures that ``write_lines`` wrote."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    figures: dict[str, dict[str, list[float]]] = {}
    for line in lines[1:]:
        figures.setdefault(line["metric"], {})[line["target"]] = line["rounds"]
    return lines[0]["machine"], figures


def rows(figures: Figures) -> list[list[str]]:
    """Table rows: a header, then one for each metric, with hotseat's ratio to nginx if both have a figure."""
    targets = list(dict.fromkeys(target for by_target in figures.values() for target in by_target))
    targets.sort(key=lambda name: (name != REFERENCE, not name.startswith("hotseat")))
    table = [["metric", *targets, "hotseat / nginx", "goal"]]
    for metric, by_target in figures.items():
        middle = {target: median(values) for target, values in by_target.items()}
        line = [metric]
        line += [_shown(middle.get(target), by_target.get(target, [])) for target in targets]
        table.append([*line, _ratio(middle), _verdict(metric, middle)])
    return table


def _ratio(middle: Mapping[str, float]) -> str:
    if "hotseat" in middle and middle.get(REFERENCE):
        return f"{middle['hotseat'] / middle[REFERENCE]:.2f}"
    return ""


def _verdict(metric: str, middle: Mapping[str, float]) -> str:
    if metric not in GOALS or "hotseat" not in middle:
        return ""
    kind, bound = GOALS[metric]
    value = middle["hotseat"]
    if kind == "times nginx":
        if not middle.get(REFERENCE):
            return ""
        value /= middle[REFERENCE]
    return f"{kind} {bound:g}: {'met' if value <= bound else 'MISSED'}"


def _shown(value: float | None, values: list[float]) -> str:
    if value is None:
        return ""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
    text = f"{value:.{digits}f}"
    if len(values) > 1 and max(values) != min(values):
        text += f" ({min(values):.{digits}f}–{max(values):.{digits}f})"
    return text


def terminal(table: list[list[str]]) -> str:
    """Format the table in columns."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


def markdown(table: list[list[str]]) -> str:
    """Format the table for ``docs/performance.md``."""
    lines = ["| " + " | ".join(line) + " |" for line in table]
    lines.insert(1, "|" + "---|" * len(table[0]))
    return "\n".join(lines)
