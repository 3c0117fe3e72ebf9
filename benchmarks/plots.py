"""Bar charts for ``docs/performance.md``, as plain SVG.

python -m benchmarks.plots benchmarks/results/accepted.jsonl docs/performance
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks.measure import median
from benchmarks.report import GOALS, REFERENCE, Figures, read_lines

CHARTS: dict[str, tuple[str, str]] = {
    "requests_32.cpu_us_per_request": ("CPU time per request, 32 connections", "µs"),
    "streams_64.cpu_us_per_chunk": ("CPU time per relayed chunk, 64 streams at 50/s", "µs"),
    "flood.cpu_us_per_chunk": ("CPU time per relayed chunk, flood", "µs"),
    "memory.per_stream_kib": ("Memory per open stream", "KiB"),
}
"""Metrics that are drawn: title and unit of each chart."""

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP, _TOP = 720, 150, 120, 22, 12, 52
_STYLE = (
    "text{font:14px system-ui,sans-serif;fill:#333}.title{font-weight:600;font-size:16px}"
    ".bar{fill:#8aa4c8}.ours{fill:#d9652b}.mark{stroke:#333;stroke-width:1.5}"
    ".goal{stroke:#2a7d4f;stroke-width:2;stroke-dasharray:5 4}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.mark{stroke:#ddd}.goal{stroke:#6cc495}}"
)


def bars(title: str, unit: str, by_target: Mapping[str, list[float]], goal: float | None) -> str:
    """Draw a bar for the median of each target, a thin line for the range of its rounds, a dashed goal."""
    names = sorted(by_target, key=lambda name: median(by_target[name]))
    scale = (_WIDTH - _LEFT - _RIGHT) / max([goal or 0, *(max(by_target[name]) for name in names), 1e-9])
    height = _TOP + len(names) * (_BAR + _GAP) + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text class="title" x="12" y="26">{escape(title)} ({escape(unit)}, less is better)</text>',
    ]
    for row, name in enumerate(names):
        values = by_target[name]
        middle, y = median(values), _TOP + row * (_BAR + _GAP)
        kind = "bar ours" if name.startswith("hotseat") else "bar"
        low, high = _LEFT + min(values) * scale, _LEFT + max(values) * scale
        parts += [
            f'<text x="{_LEFT - 10}" y="{y + 16}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{middle * scale:.1f}" height="{_BAR}"/>',
            f'<path class="mark" d="M{low:.1f} {y + _BAR / 2}H{high:.1f}"/>',
            f'<text x="{max(high, _LEFT + middle * scale) + 8:.1f}" y="{y + 16}">{middle:.1f}</text>',
        ]
    if goal is not None:
        x = _LEFT + goal * scale
        parts.append(f'<path class="goal" d="M{x:.1f} {_TOP - 8}V{height - _GAP}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_TOP - 11}" text-anchor="middle">goal</text>')
    return "\n".join([*parts, "</svg>", ""])


def draw(figures: Figures, folder: Path) -> list[Path]:
    """Write one file for each chart whose metric was measured; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for metric, (title, unit) in CHARTS.items():
        if metric not in figures:
            continue
        goal = None
        if metric in GOALS:
            kind, bound = GOALS[metric]
            reference = figures[metric].get(REFERENCE)
            if kind != "times nginx":
                goal = bound
            elif reference:
                goal = bound * median(reference)
        path = folder / f"{metric.replace('.', '-')}.svg"
        path.write_text(bars(title, unit, figures[metric], goal))
        made.append(path)
    return made


def main() -> None:
    """Read a results file and write the charts."""
    parser = argparse.ArgumentParser(prog="benchmarks.plots", description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    for path in draw(read_lines(args.results)[1], args.folder):
        print(path)


if __name__ == "__main__":
    main()
