"""Commands and environment variables."""

from __future__ import annotations

from decimal import Decimal

import pytest

from hotseat.runtimes.process import keys


def test_commands() -> None:
    assert keys.command("a --b 'c d' \"e\"") == ("a", "--b", "c d", "e")
    assert keys.command(["a", 1, Decimal("0.90")]) == ("a", "1", "0.90")
    for bad in ("", "  ", "a 'b", [], [""], [True], [None], [["a"]], {"a": 1}, 5, ["a\0"], "a\0"):
        with pytest.raises(ValueError):
            keys.command(bad)


def test_variables() -> None:
    assert keys.environment({"A": 1, "B": None, "C": Decimal("1.10")}) == {"A": "1", "B": "", "C": "1.10"}
    for bad in ({"A": True}, {"A": []}, {"": "x"}, {"A=B": "x"}, ["A"], "A=1"):
        with pytest.raises(ValueError):
            keys.environment(bad)
