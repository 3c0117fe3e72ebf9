"""What runs come to, and whether that is good enough."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from hotseat.bench import judgement, results
from hotseat.bench.charts import draw
from hotseat.bench.figures import FIGURES, format_figure, quantile, quantiles
from hotseat.bench.results import BenchResult, ResultsError
from hotseat.config import ConfigError, read_levels
from hotseat.config.schema.service_levels import ServiceLevels

MACHINE = {"cpu": "a", "cores": 2, "gpus": [], "host": "h", "boot": "b"}


def result(model: str = "chat", *, complete: bool = True, cores: int = 2, **figures: float) -> BenchResult:
    kind = "start" if any(name.startswith("start") for name in figures) else "throughput"
    how = {"state": "warm"} if kind == "start" else {"concurrency": 1, "tokens": 1000}
    return BenchResult(
        kind=kind,
        model=model,
        how=how,
        figures=figures,
        runs=[{}],
        launch={"machine": {**MACHINE, "cores": cores}, "hotseat": "0.1.0"},
        complete=complete,
    )


def test_quantiles_lie_between_values_in_proportion() -> None:
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([1, 2], 0.5) == 1.5
    assert quantile(list(range(101)), 0.95) == 95
    assert quantile([7], 0.99) == 7
    assert quantiles("ttft", [1.0, 2.0]) == {"ttft_p50": 1.5, "ttft_p95": 1.95, "ttft_p99": 1.99}
    assert quantiles("ttft", []) == {}
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


def test_figures_are_told_with_units() -> None:
    assert format_figure("start_p50", 1.2345) == "1.23 s"
    assert format_figure("ttft_p50", 0.0384) == "38.4 ms"
    assert format_figure("tokens_per_s", 97.06) == "97.1/s"


def test_worse_by_more_than_the_tolerance_fails_in_the_direction_that_is_worse() -> None:
    accepted = result(tokens_per_s=100, ttft_p50=0.1, itl_p50=0.01, ttft_p99=0.1)
    slower = result(tokens_per_s=89, ttft_p50=0.109, itl_p50=0.02, ttft_p99=9.0)
    verdicts = {one.measure: one for one in judgement.compare(accepted, slower, 0.1)}
    assert {name: one.ok for name, one in verdicts.items()} == {
        "tokens_per_s": False,
        "ttft_p50": True,
        "itl_p50": False,
    }  # the edges of few runs are not compared
    change = verdicts["tokens_per_s"].change
    assert change is not None
    assert round(change, 3) == -0.11
    better = result(tokens_per_s=500, ttft_p50=0.001, itl_p50=0.001)
    assert all(one.ok for one in judgement.compare(accepted, better, 0.0))


def test_service_levels_are_limits() -> None:
    limits = {"tokens_per_s": 40.0, "ttft_p95": 0.8, "start_p95": 120.0}
    verdicts = judgement.check_levels(result(tokens_per_s=40, ttft_p95=0.81), limits)
    assert [(one.measure, one.ok) for one in verdicts] == [("tokens_per_s", True), ("ttft_p95", False)]


def test_every_level_is_a_measure_that_exists() -> None:
    assert set(ServiceLevels.model_fields) == set(FIGURES)


def test_results_survive_the_file(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "bench.jsonl"
    first, second = result(start_p50=1.0), result(start_p50=2.0)
    results.add(file, first)
    results.accept(file, [first.id])
    results.add(file, second)
    found = results.read(file)
    assert [one.as_dict() for one in found.all] == [first.as_dict(), second.as_dict()]
    assert found.accepted_before(second) == found.all[0]
    assert found.accepted_before(first) is None  # itself is nothing to compare with
    assert results.read(tmp_path / "none.jsonl").all == []


def test_only_like_is_compared_with_like(tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    others = [
        result("coder", start_p50=1.0),
        result(cores=64, start_p50=1.0),
        result(complete=False, start_p50=1.0),
        result(tokens_per_s=5),
    ]
    for one in others:
        results.add(file, one)
    results.accept(file, [one.id for one in others])
    mine = result(start_p50=2.0)
    results.add(file, mine)
    assert results.read(file).accepted_before(mine) is None


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", json.dumps({**result(start_p50=1).as_dict(), "figures": {"start_p50": "x"}})]
)
def test_a_line_that_is_no_result_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    results.add(file, result(start_p50=1.0))
    with file.open("a") as out:
        out.write(line + "\n")
    with pytest.raises(ResultsError, match=r"bench\.jsonl:2: this line is not a result"):
        results.read(file)


def test_pictures_show_each_series_and_carry_no_script(tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    shown = [result(start_p50=1.0), result(start_p50=2.0), result("coder", start_p50=3.0)]
    for one in [*shown, result("chat", cores=64, start_p50=9.0)]:
        results.add(file, one)
    picture = draw(results.read(file), "start_p50", tmp_path / "pictures")
    assert picture is not None
    text = picture.read_text()
    words = [one.text for one in ET.fromstring(text).iter() if one.text]
    for title in ("chat, warm start", "coder, warm start", "chat, warm start (2)"):
        assert title in words
    assert "Start, median" in words
    assert "href" not in text.replace('xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    assert "<script" not in text
    assert draw(results.read(file), "itl_p50", tmp_path) is None


def test_levels_of_a_configuration_and_of_a_file_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "slo.yaml"
    file.write_text(
        "slo: {start_p95: 120s, ttft_p95: 800ms, tokens_per_s: 40}\n"
        "models: {coder: {command: x, slo: {tokens_per_s: 80}}, chat: {}}\n"
    )
    assert read_levels(file, {}) == (
        {"start_p95": 120.0, "ttft_p95": 0.8, "tokens_per_s": 40.0},
        {"coder": {"tokens_per_s": 80.0}},
    )
    file.write_text("slo: {start_p9: 1s, tokens_per_s: 0, ttft_p50: soon}\n")
    with pytest.raises(ConfigError) as caught:
        read_levels(file, {})
    assert {one.key for one in caught.value.problems} == {"slo.start_p9", "slo.tokens_per_s", "slo.ttft_p50"}
    file.write_text("models: {}\n")
    with pytest.raises(ConfigError, match="contains no service levels"):
        read_levels(file, {})
