"""The history of starts: estimates, what survives a restart, and what a bad disk may cost."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from hotseat.telemetry.history import KEPT, History, RecordedStart, StartKind


def start(seconds: float, model: str = "chat", kind: StartKind = StartKind.COLD) -> RecordedStart:
    return RecordedStart(
        model=model, fingerprint="f", kind=kind, seconds=seconds, at=1.0, phases={"compiling": 2.5}
    )


def silent(why: str) -> None:
    raise AssertionError(why)


def test_an_estimate_is_the_median_of_the_last_five_of_its_kind(tmp_path: Path) -> None:
    history = History(tmp_path / "history.sqlite3", silent)
    assert history.eta_s("chat") is None
    for seconds in (1000, 1000, 40, 41, 900, 42, 43):
        history.record_start(start(seconds))
    history.record_start(start(0.5, kind=StartKind.WAKE))
    history.record_start(start(7, model="coder"))
    assert history.eta_s("chat") == 42
    assert history.eta_s("chat", StartKind.WAKE) == 0.5
    assert history.eta_s("coder", StartKind.WAKE) is None
    history.close()


def test_it_survives_a_restart_in_order(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    first = History(path, silent)
    for seconds in (1, 2, 3):
        first.record_start(start(seconds))
    # Not closed: as after kill -9.
    second = History(path, silent)
    assert second.recent("chat") == [start(1), start(2), start(3)]
    assert second.recent("chat", 2) == [start(2), start(3)]
    assert second.recent("chat", 0) == []
    assert second.recent("nobody") == []
    first.close()
    second.close()


def test_old_starts_are_pruned_by_model(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    history = History(path, silent)
    history.record_start(start(1, model="coder"))
    for seconds in range(KEPT + 20):
        history.record_start(start(seconds))
    history.close()
    with sqlite3.connect(path) as database:
        counts = dict(database.execute("SELECT model, COUNT(*) FROM starts GROUP BY model").fetchall())
    assert counts == {"chat": KEPT, "coder": 1}
    again = History(path, silent)
    assert [one.seconds for one in again.recent("chat")] == list(range(20, KEPT + 20))
    again.close()


def test_a_corrupt_file_costs_the_past_only(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    path.write_bytes(b"this is no database" * 1000)
    trouble: list[str] = []
    history = History(path, trouble.append)
    for seconds in (1, 2, 3):
        history.record_start(start(seconds))
    assert history.eta_s("chat") == 2
    assert len(trouble) == 1
    assert str(path) in trouble[0]


@pytest.mark.parametrize("values", ["'f', 'lukewarm', 1, '{}'", "'f', 'cold', 1, 'no json'"])
def test_a_row_that_makes_no_sense_is_trouble_too(tmp_path: Path, values: str) -> None:
    path = tmp_path / "history.sqlite3"
    History(path, silent).close()
    with sqlite3.connect(path) as database:
        database.execute(
            f"INSERT INTO starts (model, fingerprint, kind, seconds, phases, at) VALUES ('chat', {values}, 1)"
        )
    trouble: list[str] = []
    assert History(path, trouble.append).recent("chat") == []
    assert len(trouble) == 1


def test_a_missing_folder_is_trouble_and_no_more(tmp_path: Path) -> None:
    trouble: list[str] = []
    history = History(tmp_path / "nowhere" / "history.sqlite3", trouble.append)
    history.record_start(start(4))
    assert history.eta_s("chat") == 4
    assert len(trouble) == 1


def test_a_write_that_fails_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    trouble: list[str] = []
    history = History(path, trouble.append)
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE starts")
    history.record_start(start(4))
    history.record_start(start(6))
    assert history.eta_s("chat") == 5
    assert len(trouble) == 1


def test_without_a_file_it_is_quiet() -> None:
    history = History(None, silent)
    history.record_start(start(3))
    assert history.eta_s("chat") == 3


def test_a_lock_of_another_program_costs_nothing_but_time(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    trouble: list[str] = []
    history = History(path, trouble.append)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    history.record_start(start(4))
    history.record_start(start(6))
    assert history.eta_s("chat") == 5
    assert [words for words in trouble if "locked" in words] == trouble
    assert len(trouble) == 1
    other.execute("ROLLBACK")
    history.record_start(start(8))  # takes those that wait along
    other.execute("BEGIN IMMEDIATE")
    history.record_start(start(10))
    assert len(trouble) == 2  # another time, told again
    other.execute("ROLLBACK")
    other.close()
    history.record_start(start(12))
    history.close()
    assert [one.seconds for one in History(path, silent).recent("chat")] == [4, 6, 8, 10, 12]


def test_a_file_that_is_locked_from_the_start_costs_the_past_only(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    first = History(path, silent)
    first.record_start(start(4))
    first.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    trouble: list[str] = []
    history = History(path, trouble.append)
    history.record_start(start(6))
    assert history.eta_s("chat") == 6
    assert len(trouble) == 1
    other.close()


def test_a_file_that_cannot_be_written_costs_the_file_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "history.sqlite3"
    first = History(path, silent)
    first.record_start(start(4))
    first.close()
    connect = sqlite3.connect

    def read_only(file: Path, **terms: Any) -> sqlite3.Connection:
        """As on a file system that is mounted read-only (whom root's rights do not help)."""
        return connect(f"file:{file}?mode=ro", uri=True, **terms)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    trouble: list[str] = []
    history = History(path, trouble.append)
    history.record_start(start(6))
    assert history.eta_s("chat") in (5, 6)
    assert len(trouble) == 1
    assert "readonly" in trouble[0]
