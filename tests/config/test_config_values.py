"""The small languages inside values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotseat import config_fields
from hotseat.config.parsers import values
from hotseat.runtimes.process import keys as process_keys


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
    assert values.duration(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "x", "30x", "m30", "30m x", "-5", "1 2", True, None, [], {}, "nan", "inf", "１s"]
)
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        values.duration(written)


def test_a_duration_is_neither_negative_nor_absurd() -> None:
    with pytest.raises(ValueError, match="negative"):
        values.duration(-1)
    with pytest.raises(ValueError, match="longer than a year"):
        values.duration("400d")
    with pytest.raises(ValueError, match="more than 0"):
        values.positive_duration("0s")
    assert values.auto_duration("auto") == "auto"
    assert values.auto_duration("2m") == 120.0
    with pytest.raises(ValueError, match="expected auto, or a duration"):
        values.auto_duration("later")


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (1024, 1024),
        ("1024", 1024),
        ("32MiB", 32 << 20),
        ("32 mib", 32 << 20),
        ("64GiB", 64 << 30),
        ("10MB", 10_000_000),
        ("10kB", 10_000),
        ("10k", 10_240),
        ("1.5KiB", 1536),
        ("7B", 7),
        ("2g", 2 << 30),
    ],
)
def test_sizes(written: object, size: int) -> None:
    assert values.size(written) == size


@pytest.mark.parametrize("written", ["", "MiB", "32 XiB", "-1", True, None, 0, -1, "0MiB", "999999999999TiB"])
def test_what_is_no_size(written: object) -> None:
    with pytest.raises(ValueError):
        values.size(written)


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        (Decimal("0.90"), 900_000),
        ("0.18", 180_000),
        (1, 1_000_000),
        (0, 0),
        (Decimal("0.0000005"), 0),  # ties go to the even one
        (Decimal("0.0000015"), 2),
        (Decimal("0.3333333"), 333_333),
        (".5", 500_000),
    ],
)
def test_shares_are_exact(written: object, parts: int) -> None:
    assert values.share(written) == parts


@given(st.integers(0, 1_000_000))
def test_a_share_of_six_digits_is_kept_as_it_is(parts: int) -> None:
    assert values.share(f"{parts / 1_000_000:.6f}") == parts
    assert values.share(Decimal(parts) / 1_000_000) == parts


@pytest.mark.parametrize("written", [90, "1.1", Decimal("-0.1"), "most", True, None, "nan"])
def test_what_is_no_share(written: object) -> None:
    with pytest.raises(ValueError):
        values.share(written)


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("127.0.0.1:8000", "127.0.0.1", 8000),
        (":8000", "0.0.0.0", 8000),
        ("*:80", "0.0.0.0", 80),
        (8001, "127.0.0.1", 8001),
        ("8001", "127.0.0.1", 8001),
        ("[::1]:8000", "::1", 8000),
        ("localhost:0", "localhost", 0),
        ("gpu-box.lan:80", "gpu-box.lan", 80),
    ],
)
def test_addresses(written: object, host: str, port: int) -> None:
    assert values.address(written) == (host, port)


@pytest.mark.parametrize(
    "written",
    ["", "here", "1.2.3.4", "::1:80", "[::1", "[x]:1", "a b:1", "h:65536", "h:-1", "h:²", True, 99999],
)
def test_what_is_no_address(written: object) -> None:
    with pytest.raises(ValueError):
        values.address(written)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("x", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert values.is_loopback(host) is loopback


def test_commands() -> None:
    assert process_keys.command("a --b 'c d' \"e\"") == ("a", "--b", "c d", "e")
    assert process_keys.command(["a", 1, Decimal("0.90")]) == ("a", "1", "0.90")
    for bad in ("", "  ", "a 'b", [], [""], [True], [None], [["a"]], {"a": 1}, 5, ["a\0"], "a\0"):
        with pytest.raises(ValueError):
            process_keys.command(bad)


def test_variables() -> None:
    assert process_keys.environment({"A": 1, "B": None, "C": Decimal("1.10")}) == {
        "A": "1",
        "B": "",
        "C": "1.10",
    }
    for bad in ({"A": True}, {"A": []}, {"": "x"}, {"A=B": "x"}, ["A"], "A=1"):
        with pytest.raises(ValueError):
            process_keys.environment(bad)


def test_words_for_yes_and_numbers_as_text() -> None:
    assert values.flag("yes") is True
    assert values.flag(" Off ") is False
    assert config_fields.whole("-7") == -7
    for bad in ("maybe", 1, None):
        with pytest.raises(ValueError):
            values.flag(bad)
    for bad in ("x", True, Decimal("1.5"), None, "9" * 30):
        with pytest.raises(ValueError):
            config_fields.whole(bad)
    with pytest.raises(ValueError, match="at least 1"):
        values.count(0)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "parse",
    [
        values.duration,
        values.auto_duration,
        values.size,
        values.share,
        values.address,
        process_keys.command,
        process_keys.environment,
        config_fields.names,
        values.flag,
        config_fields.whole,
    ],
    ids=lambda parse: parse.__name__,
)
@settings(max_examples=40)
@given(value=ANYTHING)
def test_only_value_errors(parse: Callable[[object], Any], value: object) -> None:
    with contextlib.suppress(ValueError):
        parse(value)
