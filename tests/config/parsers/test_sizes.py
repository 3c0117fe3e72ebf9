"""Sizes in bytes."""

from __future__ import annotations

import pytest

from hotseat.config.parsers import sizes


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
    assert sizes.size(written) == size


@pytest.mark.parametrize("written", ["", "MiB", "32 XiB", "-1", True, None, 0, -1, "0MiB", "999999999999TiB"])
def test_what_is_no_size(written: object) -> None:
    with pytest.raises(ValueError):
        sizes.size(written)
