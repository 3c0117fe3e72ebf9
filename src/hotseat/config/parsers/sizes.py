"""Sizes in bytes."""

from __future__ import annotations

import re
from decimal import Decimal

from hotseat.config.parsers.numbers import decimal

SIZE = "a size such as 32MiB, 64GiB or a number of bytes"

_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kmgt]?i?b?)", re.ASCII | re.IGNORECASE)
_PREFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_MAX_BYTES = 2**60


def size(value: object) -> int:
    """Parse a size; bytes, at least 1. ``k``, ``m``, ``g`` and ``KiB`` count in 1024, ``kB`` in 1000."""
    count = decimal(value)
    if count is None and isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        number, unit = match[1], match[2].lower()
        base = 1000 if unit.endswith("b") and "i" not in unit and len(unit) == 2 else 1024
        count = Decimal(number) * base ** _PREFIXES[unit.rstrip("b").rstrip("i")]
    if count is None:
        raise ValueError(f"expected {SIZE}")
    if not 1 <= count <= _MAX_BYTES:
        raise ValueError("a size lies between 1 byte and 1 EiB")
    return int(count)
