"""A request and a chunk cost no more instructions than is on record (±10 %); no clock is involved."""

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
