"""Durations."""

from __future__ import annotations

from decimal import Decimal

import pytest

from hotseat.config.parsers import times


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0, 0.0),
        (90, 90.0),
        (Decimal("1.5"), 1.5),
        ("90", 90.0),
        ("90s", 90.0),
        ("30m", 1800.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("500ms", 0.5),
        ("2D", 172800.0),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    assert times.duration(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "x", "30x", "m30", "30m x", "-5", "1 2", True, None, [], {}, "nan", "inf", "１s"]
)
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        times.duration(written)


def test_a_duration_is_neither_negative_nor_absurd() -> None:
    with pytest.raises(ValueError, match="negative"):
        times.duration(-1)
    with pytest.raises(ValueError, match="longer than a year"):
        times.duration("400d")
    with pytest.raises(ValueError, match="greater than 0"):
        times.positive_duration("0s")
    assert times.auto_duration("auto") == "auto"
    assert times.auto_duration("2m") == 120.0
    with pytest.raises(ValueError, match="expected auto or a duration"):
        times.auto_duration("later")
