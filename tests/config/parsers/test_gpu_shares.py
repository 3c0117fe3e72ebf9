"""Shares of a GPU's memory."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.config.parsers import gpu


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
    assert gpu.share(written) == parts


@given(st.integers(0, 1_000_000))
def test_a_share_of_six_digits_is_kept_as_it_is(parts: int) -> None:
    assert gpu.share(f"{parts / 1_000_000:.6f}") == parts
    assert gpu.share(Decimal(parts) / 1_000_000) == parts


@pytest.mark.parametrize("written", [90, "1.1", Decimal("-0.1"), "most", True, None, "nan"])
def test_what_is_no_share(written: object) -> None:
    with pytest.raises(ValueError):
        gpu.share(written)
