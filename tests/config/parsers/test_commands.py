"""Commands and environment variables."""

from __future__ import annotations

from decimal import Decimal

import pytest

from hotseat.config.parsers import commands


def test_commands() -> None:
    assert commands.command("a --b 'c d' \"e\"") == ("a", "--b", "c d", "e")
    assert commands.command(["a", 1, Decimal("0.90")]) == ("a", "1", "0.90")
    for bad in ("", "  ", "a 'b", [], [""], [True], [None], [["a"]], {"a": 1}, 5, ["a\0"], "a\0"):
        with pytest.raises(ValueError):
            commands.command(bad)


def test_variables() -> None:
    assert commands.environment({"A": 1, "B": None, "C": Decimal("1.10")}) == {"A": "1", "B": "", "C": "1.10"}
    for bad in ({"A": True}, {"A": []}, {"": "x"}, {"A=B": "x"}, ["A"], "A=1"):
        with pytest.raises(ValueError):
            commands.environment(bad)
