"""Plain numbers and counts."""

from __future__ import annotations

import re
from decimal import Decimal

from hotseat.config_fields import whole

MIN_COUNT = 1
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


def count(value: object) -> int:
    """Parse a whole number of at least 1."""
    number = whole(value)
    if number < MIN_COUNT:
        raise ValueError(f"must be at least {MIN_COUNT}")
    return number


def sleep_level(value: object) -> int:
    """Parse vLLM's sleep level; 0 means that the model does not sleep."""
    number = whole(value)
    if number not in (0, *SLEEP_LEVELS):
        raise ValueError("expected sleep level 1 (weights stay in host memory) or 2 (weights are discarded)")
    return number
