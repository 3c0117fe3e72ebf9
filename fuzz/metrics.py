"""Expositions of models' servers: whatever one writes, the joined page is one that Prometheus takes."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from hotseat.telemetry.metrics.relabel import join

_GOOD = "# TYPE good counter\ngood_total 1\n"


def one(data: bytes) -> None:
    """One server's exposition, beside a good one."""
    page = join({"bad": data.decode("utf-8", "replace"), "good": _GOOD})
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            series = (sample.name, frozenset(sample.labels.items()))
            assert series not in seen, series
            seen.add(series)
            assert sample.labels["model"] in ("bad", "good")
    assert ("good_total", frozenset({("model", "good")})) in seen


SEEDS = [
    b'# HELP a b\n# TYPE a histogram\na_bucket{le="+Inf"} 1\na_sum 2.5e-3\na_count 1 1700000000000\n',
    b'a{b="c",b="d"} 1\na{model="x",exported_model="y"} 1\n',
    b'a{b="\\"",c="\\\\",d="\\n"} NaN\na{b="\\q"} +Inf\n',
    b"# TYPE a bananas\n# TYPE good gauge\nhotseat_x 1\na 1\na 1\n",
]
WORDS = [
    b"# TYPE ",
    b"# HELP ",
    b"a",
    b"{",
    b"}",
    b'b="c"',
    b",",
    b"\\",
    b'"',
    b" 1",
    b" NaN",
    b" -Inf",
    b"\n",
]
