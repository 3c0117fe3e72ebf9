"""Charts of results over time, as SVG (by pygal, the extra ``bench``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import pygal
from pygal.style import Style

from hotseat.bench.figures import FIGURES
from hotseat.bench.results import BenchResult, ResultsFile

_STYLE = Style(
    font_family="system-ui, sans-serif",
    background="white",
    plot_background="white",
    colors=("#d9652b", "#3c6ea8", "#2a7d4f", "#8d5aa8", "#b8860b", "#5f6b73", "#c0392b", "#16837a"),
    guide_stroke_color="#e2e2e2",
    major_guide_stroke_color="#cccccc",
    guide_stroke_dasharray="1,0",
    major_guide_stroke_dasharray="1,0",
    title_font_size=18,
    legend_font_size=13,
    label_font_size=12,
    major_label_font_size=12,
    value_font_size=12,
)
_SHORT_TIME = slice(5, 16)
"""Month, day, hour and minute of an ISO time."""


def draw(results: ResultsFile, measure: str, folder: Path) -> Path | None:
    """Write ``MEASURE.svg`` with a line for each series that has the figure; ``None`` when there is none.

    Raises ``OSError``.
    """
    lines = _lines(results, measure)
    if not lines:
        return None
    moments = sorted({one.at for line in lines.values() for one in line})
    figure = FIGURES[measure]
    chart = pygal.Line(
        style=_STYLE,
        js=(),
        title=f"{figure.title[:1].upper()}{figure.title[1:]}",
        y_title="seconds" if figure.unit == "s" else "per second",
        x_labels=[at[_SHORT_TIME].replace("T", " ") for at in moments],
        x_label_rotation=30,
        include_x_axis=True,
        range=(0, 1.1 * max(one.figures[measure] for line in lines.values() for one in line)),
        legend_at_bottom=True,
        legend_at_bottom_columns=2,
        dots_size=4,
        stroke_style={"width": 2},
        width=900,
        height=480,
        disable_xml_declaration=True,
        allow_interruptions=False,
    )
    chart.add_xml_filter(_without_scripts)
    for title, line in lines.items():
        values = {one.at: one for one in line}
        chart.add(title, [_point(results, values.get(at), measure) for at in moments])
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{measure}.svg"
    file.write_text(chart.render(is_unicode=True), encoding="utf-8")
    return file


def _without_scripts(root: Element) -> Element:
    """Remove scripts: a chart must not run anything in the page that shows it."""
    for around in root.iter():
        for script in [one for one in around if str(one.tag).endswith("script")]:
            around.remove(script)
    return root


def _point(results: ResultsFile, one: BenchResult | None, measure: str) -> object:
    if one is None:
        return None
    accepted = " (accepted)" if one.id in results.accepted else ""
    return {"value": one.figures[measure], "label": f"hotseat {one.launch.get('hotseat')}{accepted}"}


def _lines(results: ResultsFile, measure: str) -> Mapping[str, Sequence[BenchResult]]:
    """Results by the title of their series; series of the same title get a number."""
    found: dict[str, Sequence[BenchResult]] = {}
    for series in results.series().values():
        line = [one for one in series if measure in one.figures]
        if line:
            title, number = line[0].title, 2
            while title in found:
                title, number = f"{line[0].title} ({number})", number + 1
            found[title] = line
    return found
