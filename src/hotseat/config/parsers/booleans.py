"""True and false."""

# ruff: noqa: TRY004 - a value of the wrong kind is bad input here, not a bug: always ValueError

from __future__ import annotations

BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""Accepted spellings, in lower case."""


def flag(value: object) -> bool:
    """Parse true or false; as text, too, since it may come from the environment."""
    if isinstance(value, str):
        value = BOOLS.get(value.strip().lower())
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def seed(value: object) -> bool:
    """Parse ``auto`` (true) or ``off`` (false)."""
    if value == "auto":
        return True
    if value is False or (isinstance(value, str) and BOOLS.get(value.strip().lower()) is False):
        return False
    raise ValueError("expected auto or off")
