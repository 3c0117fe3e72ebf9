"""``hotseat bench`` against a running hotseat with fake engines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fakes.hotseat import LIMIT_S, Hotseat, serving
from hotseat.bench import page_cache, results
from hotseat.bench.results import BenchResult, ResultsFile
from hotseat.cli import main

BIG = {"footprint": 0.6}


@pytest.fixture(scope="module")
def hotseat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotseat]:
    """Two that exclude each other, one that sleeps, one that cannot start, and slow ones."""
    models: dict[str, list[str] | dict[str, Any]] = {
        "chat": {**BIG, "options": ["--tokens", "20"]},
        "coder": BIG,
        "sleeper": {"engine": "vllm", "sleep": 1},
        "sleepless": {"engine": "vllm", "sleep": 1, "options": ["--sleep-fails"]},
        "broken": ["--start-fails"],
        "slow": ["--token-interval-s", "600", "--tokens", "1000"],
        "stuck": ["--never-ready"],
    }
    yield from serving(Hotseat(tmp_path_factory.mktemp("hotseat"), models))


Ended = tuple[int, str, str]
"""Exit status, standard output and standard error."""


def bench(hotseat: Hotseat, *words: str) -> Ended:
    env = {name: None for name in os.environ if name.startswith("HOTSEAT")}
    runner = CliRunner(env=env | {"HOTSEAT_URL": f"http://127.0.0.1:{hotseat.port}"})
    result = runner.invoke(main, ["bench", *words], prog_name="hotseat")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.stdout, result.stderr


def process(hotseat: Hotseat, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hotseat", "bench", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOTSEAT_URL": f"http://127.0.0.1:{hotseat.port}"},
    )


def interrupted(process: subprocess.Popen[str]) -> Ended:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert "Traceback" not in err
    return process.returncode, out, err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bench.jsonl"


def only(found: ResultsFile) -> BenchResult:
    (one,) = found.all
    return one


def test_warm_starts_are_real_starts_and_the_model_is_left_as_it_was(hotseat: Hotseat, file: Path) -> None:
    before = hotseat.model("chat")
    status, out, err = bench(hotseat, "start", "chat", "--runs", "2", "--results", str(file))
    assert (status, err) == (0, "")
    after = hotseat.model("chat")
    assert after["starts"] == before["starts"] + 3  # one does not count
    assert after["state"] == "stopped"
    assert "stopped again" in out
    assert "its process has ended; started once before" in out
    made = only(results.read(file))
    assert [one["seconds"] for one in made.runs] == after["spin_up_s"][-2:]
    assert (made.kind, made.how["state"], made.complete) == ("start", "warm", True)
    assert made.figures["start_p50"] > 0
    assert made.launch["command"][-1] == "20"
    assert made.launch["machine"]["cores"] == os.cpu_count()


def test_one_that_ran_runs_again_and_who_made_room_is_named(hotseat: Hotseat, file: Path) -> None:
    assert hotseat.ask("coder").status == 200
    status, out, _ = bench(hotseat, "start", "coder", "--runs", "1", "--results", str(file))
    assert status == 0
    assert hotseat.model("coder")["state"] == "ready"
    status, out, _ = bench(hotseat, "start", "chat", "--runs", "1", "--results", str(file))
    assert status == 0
    assert "Evicted by the benchmark and not started again: coder." in out


def test_cold_starts_drop_the_page_cache_before_each(
    hotseat: Hotseat, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[str] = []
    monkeypatch.setattr(page_cache, "check_droppable", lambda: None)
    monkeypatch.setattr(page_cache, "drop", lambda: dropped.append(str(hotseat.model("chat")["state"])))
    before = hotseat.model("chat")["starts"]
    status, _, _ = bench(hotseat, "start", "chat", "--cold", "--runs", "2", "--results", str(file))
    assert status == 0
    assert dropped == ["stopped", "stopped"]
    assert hotseat.model("chat")["starts"] == before + 2
    assert "page cache was dropped" in only(results.read(file)).how["files"]


def test_no_cold_start_is_pretended(
    hotseat: Hotseat, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_cache, "DROP", tmp_path / "none" / "drop_caches")
    before = hotseat.model("chat")["starts"]
    status, _, err = bench(hotseat, "start", "chat", "--cold", "--results", str(file))
    assert status == 1
    assert "needs root on the host" in err
    monkeypatch.setattr("hotseat.machine.facts", lambda: {"boot": "another"})
    status, _, err = bench(hotseat, "start", "chat", "--cold", "--results", str(file))
    assert status == 1
    assert "the launcher runs on another one" in err
    assert hotseat.model("chat")["starts"] == before
    assert results.read(file).all == []


def test_dropping_writes_where_the_kernel_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache, "DROP", tmp_path / "drop_caches")
    with pytest.raises(page_cache.CannotDrop):
        page_cache.check_droppable()
    page_cache.DROP.write_text("")
    page_cache.check_droppable()
    page_cache.drop()
    assert page_cache.DROP.read_text() == "3\n"


def test_wakes_of_a_model_that_sleeps(hotseat: Hotseat, file: Path) -> None:
    status, _, err = bench(hotseat, "start", "sleeper", "--wake", "--runs", "2", "--results", str(file))
    assert (status, err) == (0, "")
    model = hotseat.model("sleeper")
    assert (model["starts"], model["state"], len(model["spin_up_s"])) == (1, "stopped", 3)
    assert only(results.read(file)).how["state"] == "wake"
    status, _, err = bench(hotseat, "start", "chat", "--wake", "--results", str(file))
    assert status == 1
    assert "cannot sleep: set sleep" in err
    status, _, err = bench(hotseat, "start", "sleepless", "--wake", "--results", str(file))
    assert status == 1
    assert "not asleep" in err
    assert len(results.read(file).all) == 1


def test_a_sleeper_sleeps_again_afterwards(hotseat: Hotseat, file: Path) -> None:
    assert hotseat.ask("sleeper").status == 200
    assert (
        hotseat.send("POST", "/admin/stop", {"route": "sleeper", "wait": True, "sleep": True}).status == 200
    )
    assert hotseat.model("sleeper")["state"] == "asleep"
    status, out, _ = bench(hotseat, "throughput", "sleeper", "--runs", "1", "--results", str(file))
    assert status == 0
    assert "put to sleep again" in out
    assert hotseat.model("sleeper")["state"] == "asleep"
    assert bench(hotseat, "start", "sleeper", "--runs", "1", "--results", str(file))[0] == 0
    assert hotseat.model("sleeper")["state"] == "asleep"


def test_a_start_that_fails_says_why(hotseat: Hotseat, file: Path) -> None:
    status, _, err = bench(hotseat, "start", "broken", "--results", str(file))
    assert status == 1
    assert (
        "model broken failed to start: exited with code 1: `hotseat logs broken` shows why; next try in"
        in err
    )
    assert results.read(file).all == []


def test_throughput_step_by_step(hotseat: Hotseat, file: Path) -> None:
    status, out, err = bench(
        hotseat, "throughput", "chat", "--concurrency", "1,3", "--runs", "2", "--results", str(file)
    )
    assert (status, err) == (0, "")
    one, three = results.read(file).all
    assert [len(one.runs), len(three.runs)] == [2, 6]
    assert (three.how["concurrency"], three.how["tokens"], three.how["temperature"]) == (3, 1000, 0.2)
    assert {run["tokens"] for run in three.runs} == {20}
    assert {"tokens_per_s", "ttft_p50", "ttft_p99", "itl_p50", "itl_p99"} <= set(three.figures)
    assert "2 ended early, after 20 to 20 of 1000 tokens" in out
    assert hotseat.model("chat")["state"] == "stopped"


def test_a_model_in_use_is_left_alone(hotseat: Hotseat, file: Path) -> None:
    client = process(hotseat, "throughput", "slow", "--results", str(file))
    hotseat.until("slow", lambda model: model["in_flight"] == 1)
    status, _, err = bench(hotseat, "start", "slow", "--results", str(file))
    assert status == 1
    assert "is in use (1 request)" in err
    status, out, err = interrupted(client)
    assert status == 130
    assert "Interrupted." in err
    assert "stopped again" in out
    assert results.read(file).all == []  # nothing was complete
    hotseat.until("slow", lambda model: model["state"] == "stopped")


def test_an_interrupted_start_keeps_what_was_measured(tmp_path: Path) -> None:
    marker = tmp_path / "third"
    made = Hotseat(tmp_path, {"chat": ["--start-s", "0"], "stuck": ["--never-ready"]})
    for one in serving(made):
        client = process(one, "start", "stuck", "--results", str(marker))
        one.until("stuck", lambda model: model["state"] == "starting")
        status, _, _ = interrupted(client)
        assert (status, results.read(marker).all) == (130, [])
        one.until("stuck", lambda model: model["state"] == "stopped")
        file = tmp_path / "bench.jsonl"
        client = process(one, "start", "chat", "--runs", "1000", "--results", str(file))
        one.until("chat", lambda model: model["starts"] >= 3)  # so two of them were measured
        status, out, _ = interrupted(client)
        assert status == 130
        kept = only(results.read(file))
        assert not kept.complete
        assert 1 <= len(kept.runs) < 1000
        assert "marked as incomplete" in out
        one.until("chat", lambda model: model["state"] == "stopped")
        status, out, _ = bench(one, "report", "--results", str(file))
        assert status == 0
        assert "incomplete" in out
        assert bench(one, "report", "--results", str(file), "--accept")[0] == 1


def test_wrong_usage_and_unknown_names(hotseat: Hotseat, file: Path, tmp_path: Path) -> None:
    for words in (
        ["throughput", "chat", "--concurrency", "1,x"],
        ["throughput", "chat", "--concurrency", "0"],
        ["start"],
        ["start", "chat", "--runs", "0"],
        ["report", "--tolerance", "much"],
    ):
        assert bench(hotseat, *words)[0] == 2, words
    status, _, err = bench(hotseat, "start", "nobody", "--results", str(file))
    assert status == 1
    assert "no route or model is called 'nobody'" in err
    status, _, err = bench(hotseat, "start", "chat", "--results", str(tmp_path))
    assert status == 2
    (tmp_path / "a-file").write_text("")
    status, _, err = bench(hotseat, "start", "chat", "--results", str(tmp_path / "a-file" / "b.jsonl"))
    assert status == 1
    assert "cannot be written" in err


def filled(file: Path, *values: float) -> list[str]:
    """Start results with these medians; their ids."""
    launch = {"machine": {}, "hotseat": "0.1.0", "command": ["server", "--fast"]}
    made = []
    for value in values:
        one = BenchResult(
            kind="start",
            model="chat",
            how={"state": "warm"},
            figures={"start_p50": value, "start_p95": value},
            runs=[{"seconds": value}],
            launch=launch if value < 2 else {**launch, "command": ["server"]},
        )
        results.add(file, one)
        made.append(one.id)
    return made


def report(file: Path, *words: str) -> Ended:
    result = CliRunner().invoke(
        main, ["bench", "report", "--results", str(file), *words], prog_name="hotseat"
    )
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.stdout, result.stderr


def test_compare_fails_when_worse_than_the_accepted(file: Path) -> None:
    filled(file, 1.0)
    status, _, err = report(file, "--compare")
    assert status == 1
    assert "no accepted result to compare with" in err
    assert report(file, "--accept")[0] == 0
    filled(file, 1.09)
    assert report(file, "--compare")[0] == 0
    filled(file, 2.0)
    status, out, _ = report(file, "--compare", "--accept")
    assert status == 1
    assert "FAILED  chat, warm start: start, median 2.00 s, accepted 1.00 s (+100.0%)" in out
    assert "command was server --fast, is server" in out
    assert report(file, "--compare", "--tolerance", "1.5")[0] == 0
    assert report(file, "--compare")[0] == 1  # what was worse was not accepted
    assert report(file, "--accept")[0] == 0
    filled(file, 2.1)
    assert report(file, "--compare")[0] == 0


def test_service_levels_have_a_line_each(file: Path, tmp_path: Path) -> None:
    filled(file, 1.0)
    slo = tmp_path / "slo.yaml"
    slo.write_text("slo: {start_p95: 2s}\n")
    status, out, _ = report(file, "--slo", str(slo))
    assert status == 0
    assert "ok      chat, warm start: start, 95th percentile 1.00 s, at most 2.00 s" in out
    slo.write_text("slo: {start_p95: 2s, tokens_per_s: 40}\nmodels: {chat: {slo: {start_p95: 500ms}}}\n")
    status, out, err = report(file, "--slo", str(slo), "--json")
    assert status == 1
    told = json.loads(out)
    assert [(one["measure"], one["ok"], one["limit"]) for one in told["verdicts"]] == [
        ("start_p95", False, 0.5)
    ]
    assert told["troubles"] == [
        "start_p95: no result has this figure",
        "tokens_per_s: no result has this figure",
    ]
    slo.write_text("slo: {start: 2s}\n")
    status, _, err = report(file, "--slo", str(slo))
    assert status == 2
    assert "slo.start" in err
    assert report(file, "--slo", str(tmp_path / "none.yaml"))[0] == 2


def test_a_report_of_nothing_is_a_failure(file: Path) -> None:
    status, _, err = report(file)
    assert status == 1
    assert "contains no results" in err
    filled(file, 1.0)
    assert report(file, "--model", "coder")[0] == 1
    file.write_text("nonsense\n")
    status, _, err = report(file)
    assert status == 1
    assert "bench.jsonl:1: this line is not a result" in err


def test_pictures_are_drawn(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(file, 1.0, 1.1)
    status, out, _ = report(file, "--plot", str(tmp_path / "pictures"))
    assert status == 0
    assert [one.name for one in (tmp_path / "pictures").iterdir()] == ["start_p50.svg"]
    assert "start_p50.svg" in out
    monkeypatch.setitem(sys.modules, "pygal", None)
    monkeypatch.delitem(sys.modules, "hotseat.bench.charts", raising=False)
    status, _, err = report(file, "--plot", str(tmp_path / "more"))
    assert status == 1
    assert "[bench]" in err
