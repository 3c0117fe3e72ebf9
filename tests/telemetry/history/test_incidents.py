"""Swaps, failures and minutes: what survives, what is pruned, and what a bad disk costs."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hotseat.telemetry.history import History, Minute, RecordedFailure, RecordedSwap
from hotseat.telemetry.history.incidents import INCIDENTS_KEPT
from hotseat.telemetry.history.minutes import MINUTES_IN_MEMORY, MINUTES_KEPT


def swap(at: float) -> RecordedSwap:
    return RecordedSwap(at=at, old="chat", new="coder")


def failure(at: float, hint: str | None = None) -> RecordedFailure:
    return RecordedFailure(
        at=at, model="chat", run=3, cause="crashed", summary="exited with code 1", hint=hint
    )


def minute(number: int, requests: int = 1, model: str = "chat") -> Minute:
    return Minute(minute=number, model=model, requests=requests, errors=0, tokens_in=2, tokens_out=3)


def silent(why: str) -> None:
    raise AssertionError(why)


def test_all_of_it_survives_a_restart_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    first = History(path, silent)
    for at in (1.0, 2.0, 3.0):
        first.record_swap(swap(at))
        first.record_failure(failure(at, hint="free some memory"))
    first.record_minutes([minute(100), minute(100, model="coder")])
    first.record_minutes([minute(101)])
    first.close()
    second = History(path, silent)
    assert second.swaps(2) == [swap(3.0), swap(2.0)]
    assert second.failures(10) == [failure(at, hint="free some memory") for at in (3.0, 2.0, 1.0)]
    assert second.minutes("chat", 101) == [minute(101)]
    assert second.minutes("chat", 0) == [minute(100), minute(101)]
    assert second.minutes("nobody", 0) == []
    second.close()


def test_a_minute_with_a_restart_in_it_is_added_up(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    for requests in (2, 5):
        history = History(path, silent)
        history.record_minutes([minute(7, requests)])
        history.close()
    history = History(path, silent)
    assert history.minutes("chat", 0) == [
        Minute(minute=7, model="chat", requests=7, errors=0, tokens_in=4, tokens_out=6)
    ]
    history.close()


def test_the_old_goes(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    history = History(path, silent)
    for at in range(INCIDENTS_KEPT + 5):
        history.record_swap(swap(float(at)))
        history.record_failure(failure(float(at)))
    for number in (1, 1 + MINUTES_KEPT, 2 + MINUTES_KEPT):
        history.record_minutes([minute(number)])
    history.close()
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*), min(at) FROM swaps").fetchone() == (INCIDENTS_KEPT, 5.0)
        assert database.execute("SELECT count(*) FROM failures").fetchone() == (INCIDENTS_KEPT,)
        minutes = database.execute("SELECT minute FROM minutes ORDER BY minute").fetchall()
    database.close()
    assert minutes == [(1 + MINUTES_KEPT,), (2 + MINUTES_KEPT,)]
    again = History(path, silent)
    assert len(again.swaps(10_000)) == INCIDENTS_KEPT
    assert again.swaps(1) == [swap(float(INCIDENTS_KEPT + 4))]
    again.close()


def test_memory_remembers_an_hour() -> None:
    history = History(None, silent)
    for number in range(200):
        history.record_minutes([minute(number)])
    assert [one.minute for one in history.minutes("chat", 0)] == list(range(200 - MINUTES_IN_MEMORY, 200))


def test_a_full_disk_costs_the_file_and_no_more(tmp_path: Path) -> None:
    trouble: list[str] = []
    history = History(tmp_path / "history.sqlite3", trouble.append)
    with sqlite3.connect(tmp_path / "history.sqlite3") as database:
        database.execute("DROP TABLE failures")
    database.close()
    history.record_failure(failure(1.0))
    history.record_swap(swap(1.0))
    history.record_minutes([minute(1)])
    assert len(trouble) == 1
    assert "to start a new one, delete it" in trouble[0]
    assert (history.failures(5), history.swaps(5)) == ([failure(1.0)], [swap(1.0)])
    history.close()
