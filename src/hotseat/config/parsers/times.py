"""Durations, points in time and weekly time spans."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from typing import Literal

from hotseat.config.parsers.booleans import flag
from hotseat.config.parsers.numbers import decimal
from hotseat.config_fields import names
from hotseat.core.spec import KeepWarmSpan
from hotseat.schedule import parse_span

MAX_DURATION_S = 365 * 86400
DEFAULT_COMMENT_INTERVAL_S = 2.0
MIN_COMMENT_INTERVAL_S = 0.1
DURATION = "a duration such as 30m, 90s, 1h30m or a number of seconds"

_UNITS_S = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)\s*", re.ASCII)


def duration(value: object) -> float:
    """Parse a duration; seconds, from 0 to one year."""
    seconds = decimal(value)
    if seconds is None and isinstance(value, str):
        text = value.strip().lower()
        parts = _PART.findall(text)
        if parts and _PART.sub("", text) == "":
            seconds = sum((Decimal(count) * _UNITS_S[unit] for count, unit in parts), Decimal(0))
    if seconds is None:
        raise ValueError(f"expected {DURATION}")
    if seconds < 0:
        raise ValueError("a duration cannot be negative")
    if seconds > MAX_DURATION_S:
        raise ValueError("a duration cannot be longer than a year")
    return float(seconds)


def positive_duration(value: object) -> float:
    """Parse a duration greater than 0; seconds."""
    seconds = duration(value)
    if not seconds:
        raise ValueError("must be greater than 0")
    return seconds


def comment_interval(value: object) -> float:
    """Parse the seconds between two comments, or true (the default) or false (0: never)."""
    try:
        return DEFAULT_COMMENT_INTERVAL_S if flag(value) else 0.0
    except ValueError:
        pass
    try:
        seconds = duration(value)
    except ValueError as error:
        if str(error).startswith("expected"):
            raise ValueError(f"expected true, false or {DURATION}") from None
        raise
    if 0 < seconds < MIN_COMMENT_INTERVAL_S:
        raise ValueError(f"must be 0 or at least {MIN_COMMENT_INTERVAL_S:g} s")
    return seconds


def auto_duration(value: object) -> float | Literal["auto"]:
    """Parse a duration in seconds, or ``auto``."""
    if value == "auto":
        return "auto"
    try:
        return duration(value)
    except ValueError as error:
        if str(error).startswith("expected"):
            raise ValueError(f"expected auto or {DURATION}") from None
        raise


def moment(value: object) -> float:
    """Parse a day (meaning its end, in UTC) or a date and time; seconds since the epoch."""
    if isinstance(value, str):
        text = value.strip()
        try:
            if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
                day = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)
                return (day + datetime.timedelta(days=1)).timestamp()
            at = datetime.datetime.fromisoformat(text)
            return (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
    raise ValueError("expected a date such as 2027-01-31, or a date and time such as 2027-01-31T12:00:00Z")


def warm_spans(value: object) -> tuple[KeepWarmSpan, ...]:
    """Parse one weekly time span or a list of them."""
    return tuple(parse_span(text) for text in names(value))
