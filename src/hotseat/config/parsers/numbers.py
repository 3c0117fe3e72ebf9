"""Plain numbers: whole numbers, counts, ports."""

# ruff: noqa: TRY004 - a value of the wrong kind is bad input here, not a bug: always ValueError

from __future__ import annotations

import re
from decimal import Decimal

MIN_COUNT = 1
MIN_PORT, MAX_PORT = 1, 65535
SLEEP_LEVELS = (1, 2)

_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?|\.\d{1,15}", re.ASCII)


def decimal(value: object) -> Decimal | None:
    """The value as a number, ``None`` where it is not one.

    Text of digits counts as a number: it may come from the environment.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | Decimal):
        number = Decimal(value)
        return number if number.is_finite() else None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return Decimal(value.strip())
    return None


def positive_number(value: object) -> float:
    """Parse a number greater than 0."""
    number = decimal(value)
    if number is None:
        raise ValueError("expected a number")
    if number <= 0:
        raise ValueError("must be greater than 0")
    return float(number)


def whole(value: object) -> int:
    """Parse a whole number of at most 18 digits."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("expected a whole number")
    return value


def count(value: object) -> int:
    """Parse a whole number of at least 1."""
    number = whole(value)
    if number < MIN_COUNT:
        raise ValueError(f"must be at least {MIN_COUNT}")
    return number


def port(value: object) -> int:
    """Parse a TCP port."""
    number = whole(value)
    if not MIN_PORT <= number <= MAX_PORT:
        raise ValueError(f"expected a port between {MIN_PORT} and {MAX_PORT}")
    return number


def sleep_level(value: object) -> int:
    """Parse vLLM's sleep level; 0 means that the model does not sleep."""
    number = whole(value)
    if number not in (0, *SLEEP_LEVELS):
        raise ValueError("expected sleep level 1 (weights stay in host memory) or 2 (weights are discarded)")
    return number
