"""Whole numbers, counts, ports, and true or false."""

from __future__ import annotations

from decimal import Decimal

import pytest

from hotseat import config_fields
from hotseat.config.parsers import booleans, numbers


def test_true_and_false_may_come_as_text() -> None:
    assert booleans.flag("yes") is True
    assert booleans.flag(" Off ") is False
    for bad in ("maybe", 1, None):
        with pytest.raises(ValueError, match="expected true or false"):
            booleans.flag(bad)


def test_whole_numbers_may_come_as_text() -> None:
    assert config_fields.whole("-7") == -7
    for bad in ("x", True, Decimal("1.5"), None, "9" * 30):
        with pytest.raises(ValueError, match="expected a whole number"):
            config_fields.whole(bad)


def test_bounds_of_counts_ports_and_sleep_levels() -> None:
    assert (numbers.count(1), config_fields.port(1), config_fields.port("65535"), numbers.sleep_level(2)) == (
        1,
        1,
        65535,
        2,
    )
    with pytest.raises(ValueError, match="at least 1"):
        numbers.count(0)
    for bad in (0, 65536, -1):
        with pytest.raises(ValueError, match="between 1 and 65535"):
            config_fields.port(bad)
    with pytest.raises(ValueError, match="expected sleep level 1"):
        numbers.sleep_level(3)
