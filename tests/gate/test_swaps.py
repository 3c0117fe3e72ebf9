"""Models that are prepared by a running hotseat while another has the seat: real processes, end to end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fakes.gated import LIMIT_S, served, write_packages
from fakes.hotseat import Hotseat, serving
from hotseat.runtimes.process import procfs
from hotseat.runtimes.process.launch_records import LAUNCH


class Swapping(Hotseat):
    """A launcher with models that exclude each other."""

    def book(self) -> list[str]:
        """What the servers wrote: ``imported`` or ``device``, and the model."""
        path = self.folder / "book"
        return [line.rpartition(" ")[0] for line in path.read_text().splitlines()] if path.exists() else []

    def make_known(self, *models: str) -> None:
        """Start each once, so that its gate is known; the last one stays."""
        for model in models:
            assert self.ask(model).status == 200

    def gates(self) -> list[Path]:
        """The folders of gates that exist."""
        return [path for path in (self.state / "gates").iterdir() if path.is_dir()]


def swapping(folder: Path, words: dict[str, tuple[str, ...]] | None = None, **terms: Any) -> Swapping:
    packages = write_packages(folder / "packages")
    words = words or {"chat": (), "coder": ()}
    models = {name: served(packages, folder / "book", *given, **terms) for name, given in words.items()}
    return Swapping(folder, models)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Swapping]:
    made = swapping(tmp_path)
    yield made
    made.sweep()


@pytest.fixture
def two(made: Swapping) -> Iterator[Swapping]:
    yield from serving(made)  # type: ignore[misc]


def test_a_model_is_prepared_while_the_other_is_in_use_and_takes_the_gpu_after_it(two: Swapping) -> None:
    two.make_known("coder", "chat")
    before = len(two.lines)
    pid = two.ask("chat").pid
    with ThreadPoolExecutor() as pool:
        os.kill(pid, signal.SIGSTOP)
        busy = pool.submit(two.ask, "chat")
        two.until("chat", lambda model: model["in_flight"] == 1)
        asked = pool.submit(two.ask, "coder")
        two.moved("coder", "standby", before)
        standing = two.model("coder")
        assert standing["footprint"] == {}
        assert two.book()[-1] == "imported coder"
        os.kill(pid, signal.SIGCONT)
        assert busy.result().status == 200
        assert asked.result().status == 200
    assert two.book()[-1] == "device coder"
    events = [line["event"] for line in two.lines[before:] if line.get("model") == "coder"]
    assert [e for e in events if e in ("preparing", "standby", "starting", "ready")] == [
        "preparing",
        "standby",
        "starting",
        "ready",
    ]


def test_a_first_start_is_plain_and_nothing_is_prepared_before_its_gate_was_seen(two: Swapping) -> None:
    assert two.ask("chat").status == 200
    assert two.ask("coder").status == 200
    assert not [line for line in two.lines if line["event"] == "preparing"]
    assert two.ask("chat").status == 200
    assert [line["model"] for line in two.lines if line["event"] == "preparing"] == ["chat"]


def test_a_known_gate_is_remembered_by_the_next_hotseat(made: Swapping) -> None:
    made.start().make_known("coder", "chat")
    made.stop()
    made.start()
    before = len(made.lines)
    made.make_known("chat", "coder")
    made.told(lambda line: line["event"] == "preparing" and line["model"] == "coder", before)
    assert made.stop() == 0


def test_a_swap_that_goes_at_once_needs_no_standby_and_loses_nothing(two: Swapping) -> None:
    two.make_known("coder", "chat")
    for model in ("coder", "chat") * 5:
        assert two.ask(model).status == 200
    devices = [line for line in two.book() if line.startswith("device")]
    assert len(devices) == 12
    assert len(two.gates()) == 1  # of the one that runs


def test_a_stop_while_it_stands_by_leaves_nothing(two: Swapping) -> None:
    two.make_known("coder", "chat")
    pid = two.ask("chat").pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor() as pool:
            busy = pool.submit(two.ask, "chat")
            two.until("chat", lambda model: model["in_flight"] == 1)
            asked = pool.submit(two.ask, "coder")
            two.moved("coder", "standby", len(two.lines) - 1)
            began = time.monotonic()
            assert two.send("POST", "/admin/stop", {"route": "coder", "wait": True}).status == 200
            two.until("coder", lambda model: model["state"] == "stopped")
            assert time.monotonic() - began < LIMIT_S / 2
            assert asked.result().status == 503
            os.kill(pid, signal.SIGCONT)
            assert busy.result().status == 200
    finally:
        if procfs.stat(pid) is not None:
            os.kill(pid, signal.SIGCONT)
    assert len(two.gates()) == 1


def stand_by(made: Swapping, pool: ThreadPoolExecutor) -> int:
    """Have ``coder`` stand by while ``chat`` stands still in the seat; returns the pid of ``chat``."""
    made.make_known("coder", "chat")
    before = len(made.lines)
    pid = made.ask("chat").pid
    os.kill(pid, signal.SIGSTOP)
    pool.submit(made.ask, "chat")
    made.until("chat", lambda model: model["in_flight"] == 1)
    pool.submit(made.ask, "coder")
    made.moved("coder", "standby", before)
    return pid


def launches(made: Swapping) -> set[str]:
    return {procfs.environ(pid).get(LAUNCH, "") for pid in made.engines()}


def test_a_killed_hotseat_leaves_a_standby_that_the_next_one_adopts(made: Swapping) -> None:
    made.start()
    with ThreadPoolExecutor() as pool:
        chat = stand_by(made, pool)
        made.kill()
        left = launches(made)
        assert len(left) == 2
        os.kill(chat, signal.SIGCONT)
    assert made.book()[-1] == "imported coder"  # nobody has opened the gate
    before = len(made.lines)
    made.start()
    made.moved("coder", "standby", before)
    assert launches(made) == left
    assert made.ask("coder").status == 200
    assert made.book()[-1] == "device coder"
    assert made.stop() == 0
    assert made.engines() == []


def test_a_standby_of_a_command_that_has_changed_is_ended_by_the_next_hotseat(made: Swapping) -> None:
    made.start()
    with ThreadPoolExecutor() as pool:
        chat = stand_by(made, pool)
        made.kill()
        os.kill(chat, signal.SIGCONT)
    packages = made.folder / "packages"
    models = {
        "chat": served(packages, made.folder / "book"),
        "coder": served(packages, made.folder / "book", "changed"),
    }
    made.write(models)
    before = len(made.lines)
    made.start()
    made.moved("coder", "stopped", before)
    assert made.ask("coder").status == 200
    assert made.stop() == 0


def test_one_that_dies_while_it_is_prepared_is_started_plainly_in_its_turn(tmp_path: Path) -> None:
    made = swapping(tmp_path, {"chat": (), "coder": ("dies",)})
    for two in serving(made):
        assert isinstance(two, Swapping)
        two.make_known("coder", "chat")
        pid = two.ask("chat").pid
        os.kill(pid, signal.SIGSTOP)
        with ThreadPoolExecutor() as pool:
            busy = pool.submit(two.ask, "chat")
            two.until("chat", lambda model: model["in_flight"] == 1)
            asked = pool.submit(two.ask, "coder")
            two.told(lambda line: line.get("cause") == "prepare_failed")
            assert not asked.done()
            os.kill(pid, signal.SIGCONT)
            assert busy.result().status == 200
            assert asked.result().status == 200
        assert two.model("coder")["failures"] == 0


def test_one_that_is_not_held_is_counted_when_it_answers(tmp_path: Path) -> None:
    made = swapping(tmp_path, {"chat": (), "coder": ("ungated",)})
    for two in serving(made):
        assert isinstance(two, Swapping)
        two.make_known("coder", "chat")
        pid = two.ask("chat").pid
        os.kill(pid, signal.SIGSTOP)
        with ThreadPoolExecutor() as pool:
            busy = pool.submit(two.ask, "chat")
            two.until("chat", lambda model: model["in_flight"] == 1)
            assert pool.submit(two.ask, "coder").result().status == 200
            assert two.model("coder")["footprint"]
            os.kill(pid, signal.SIGCONT)
            assert busy.result().status == 200
        two.told(lambda line: line["event"] == "its gate did not hold it")


def test_one_that_never_passes_a_gate_is_not_prepared_and_the_log_says_so_once(tmp_path: Path) -> None:
    made = swapping(tmp_path, {"chat": (), "coder": ("cpu",)})
    for two in serving(made):
        assert isinstance(two, Swapping)
        two.make_known("coder", "chat", "coder", "chat", "coder")
        said = [line["model"] for line in two.lines if line["event"].startswith("cannot be prepared")]
        assert said == ["coder"]
        assert {line["model"] for line in two.lines if line["event"] == "preparing"} == {"chat"}


def test_without_host_memory_it_is_started_plainly(tmp_path: Path) -> None:
    packages = write_packages(tmp_path / "packages")
    models = {name: served(packages, tmp_path / "book") for name in ("chat", "coder")}
    made = Swapping(tmp_path, models, standby={"reserve": "100TiB"})
    for two in serving(made):
        assert isinstance(two, Swapping)
        two.make_known("coder", "chat", "coder")
        told = two.told(lambda line: line.get("cause") == "prepare_failed")
        assert "host memory" in json.dumps(told)


def test_who_left_the_seat_is_kept_prepared(tmp_path: Path) -> None:
    made = swapping(tmp_path, standby="keep")
    for two in serving(made):
        assert isinstance(two, Swapping)
        two.make_known("coder", "chat")
        two.until("coder", lambda model: model["state"] == "standby")
        assert two.book()[-1] == "imported coder"
        before = len(two.lines)
        assert two.ask("coder").status == 200
        assert two.moved("coder", "starting", before)["was"] == "standby"
        two.until("chat", lambda model: model["state"] == "standby")
