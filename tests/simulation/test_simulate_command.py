"""``hotseat simulate``."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from fakes.hotseat import Hotseat, serving
from hotseat.commands.simulate import command

CONFIG = "models:\n  a: {command: [serve, --port, '{port}']}\n  b: {command: [serve, --port, '{port}']}\n"


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, list(words))
    return result.exit_code, result.output


def test_a_table_compares_the_ways() -> None:
    status, told = run("two-loops", "--by-model")
    assert status == 0
    rows = [line.split() for line in told.splitlines()]
    assert [row[0] for row in rows if row[1:2] == ["all"]] == ["hotseat", "first-come", "swap-on-demand"]
    assert sum(row[:2] == ["-", "left"] for row in rows) == 3


def test_json_for_scripts() -> None:
    status, told = run("bursts", "--way", "hotseat", "--json")
    assert status == 0
    [one] = json.loads(told)
    [line] = one["lines"]
    assert one["scenario"] == "bursts"
    assert line["answered"] > 1000
    assert line["total_wait_s"] >= one["offline_wait_s"]


def test_the_list_of_scenarios() -> None:
    status, told = run("--list")
    assert status == 0
    assert "two-loops" in told


def test_a_trace_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "hotseat.yaml").write_text(CONFIG)
    trace = tmp_path / "day.jsonl"
    trace.write_text('{"at": 0, "model": "a", "seconds": 1}\n{"at": 300, "model": "b", "seconds": 1}\n')
    words = ["--trace", str(trace), "-c", str(tmp_path / "hotseat.yaml"), "--start-seconds", "7"]
    status, told = run(*words, "--json", "--way", "hotseat")
    assert status == 0, told
    assert json.loads(told)[0]["lines"][0]["answered"] == 2
    trace.write_text("nonsense\n")
    status, told = run(*words)
    assert status == 1
    assert "line 1" in told


def test_the_access_log_of_a_running_hotseat_is_a_trace(tmp_path: Path) -> None:
    terms = {"options": ["--service-s", "0.05", "--start-s", "0.3"], "footprint": 0.9}
    made = Hotseat(tmp_path, {"chat": terms, "coder": terms})
    for hotseat in serving(made):
        for model in ("chat", "chat", "coder"):
            assert hotseat.ask(model).status == 200
        assert hotseat.ask("nobody").status == 404
        assert hotseat.send("GET", "/healthz").status == 200
    lines = [json.loads(line) for line in made.access_log.read_text().splitlines()]
    assert len(lines) >= 4
    status, told = run(
        "--trace", str(made.access_log), "-c", str(made.file), "--start-seconds", "1", "--json"
    )
    assert status == 0, told
    [one] = json.loads(told)
    ours = one["lines"][0]
    assert (ours["way"], ours["answered"], one["ways"]["hotseat"]["starts"]) == ("hotseat", 3, 2)
    assert ours["max_s"] >= 1.0
    status, told = run("--trace", str(made.access_log), "-c", str(made.file), "--json", "--way", "hotseat")
    assert json.loads(told)[0]["lines"][0]["max_s"] > 0.25  # as long as the engine took to start, and no 45 s
    assert json.loads(told)[0]["lines"][0]["max_s"] < 45.0


def test_a_bad_configuration_is_told(tmp_path: Path) -> None:
    (tmp_path / "hotseat.yaml").write_text("model: {}\n")
    trace = tmp_path / "day.jsonl"
    trace.write_text('{"at": 0, "model": "a", "seconds": 1}\n')
    status, told = run("--trace", str(trace), "-c", str(tmp_path / "hotseat.yaml"))
    assert status == 2
    assert "model" in told
