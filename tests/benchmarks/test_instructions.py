"""A request and a chunk cost no more instructions than is on record; no clock is involved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks import instructions


@pytest.mark.parametrize(("now", "fault"), [(1099, ""), (901, ""), (1101, "slower"), (899, "faster")])
def test_ten_percent_are_the_limit(now: float, fault: str) -> None:
    faults = instructions.compare({"per_chunk": now}, {"per_chunk": 1000})
    assert len(faults) == bool(fault)
    assert all(fault in one for one in faults)


def test_where_valgrind_is_missing_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(instructions.Unavailable, match="apt-get install valgrind"):
        instructions.count(tmp_path)


def test_on_another_python_the_bare_relay_is_the_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "instructions.json"
    monkeypatch.setattr(instructions, "RECORDED", record)
    with pytest.raises(instructions.Unavailable, match="--record"):
        instructions.judge({"per_request": 1.0}, dict)
    instructions.record({"per_request": 260_000}, {"per_request": 200_000})
    assert instructions.judge({"per_request": 280_000}, dict) == []
    assert len(instructions.judge({"per_request": 290_000}, dict)) == 1
    monkeypatch.setattr(instructions, "this_set", lambda: {"python": "9.9"})
    assert instructions.judge({"per_request": 150_000}, lambda: {"per_request": 110_000}) == []
    assert "slower" in instructions.judge({"per_request": 190_000}, lambda: {"per_request": 110_000})[0]


@pytest.mark.system("valgrind", "callgrind_control")
def test_a_request_and_a_chunk_cost_what_is_on_record(tmp_path: Path) -> None:
    relay = tmp_path / "relay"
    relay.mkdir()
    assert instructions.judge(instructions.count(tmp_path), lambda: instructions.count_relay(relay)) == []
