"""Keep-warm schedules: spans such as ``Mon-Fri 08:00-18:00`` in a time zone.

Pure, but for the time zone tables: the current time is an argument. Times of day are local wall-clock times,
so a span keeps its hours when daylight saving time begins or ends. A span whose end is not after its start
ends on the next day.
"""

from __future__ import annotations

import os
import re
import zoneinfo
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path

from hotseat.core.spec import KeepWarmSpan

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SPAN = 'a span such as "Mon-Fri 08:00-18:00", "Sat,Sun 10:00-24:00" or "07:30-09:00" (every day)'

_SPAN = re.compile(r"(?:([A-Za-z][A-Za-z,\s-]*?)\s+)?(\d{1,2}):(\d\d)\s*[-–]\s*(\d{1,2}):(\d\d)", re.ASCII)
_DAY_MIN = 24 * 60
_HORIZON_DAYS = 8
"""Within this many days every span has begun and ended at least once."""


def parse_span(text: str) -> KeepWarmSpan:
    """Parse a span. Raises ``ValueError`` with a message for users."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected {SPAN}")
    days, *numbers = match.groups()
    from_hour, from_minute, to_hour, to_minute = map(int, numbers)
    start, end = from_hour * 60 + from_minute, to_hour * 60 + to_minute
    if from_minute > 59 or to_minute > 59 or start >= _DAY_MIN or end > _DAY_MIN:
        raise ValueError("times of day must be between 00:00 and 24:00")
    if start == end:
        raise ValueError("start and end are the same; for a whole day write 00:00-24:00")
    return KeepWarmSpan(days=_days(days) if days else frozenset(range(7)), start_min=start, end_min=end)


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in re.split(r"[,\s]+", re.sub(r"\s*-\s*", "-", text.strip().rstrip(","))):
        first, dash, last = part.partition("-")
        low = _day(first)
        high = _day(last) if dash else low
        found |= {(low + step) % 7 for step in range((high - low) % 7 + 1)}
    return frozenset(found)


def _day(word: str) -> int:
    name = word.lower()
    for number, day in enumerate(DAYS):
        if name[:3] == day and (len(name) == 3 or name in _LONG):
            return number
    raise ValueError(f"unknown day; write {', '.join(day.capitalize() for day in DAYS)}")


_LONG = frozenset({"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"})


def zone_of(name: str) -> tzinfo:
    """Return the time zone of this name; for ``""`` that of this machine. Raises ``ValueError``."""
    try:
        if name:
            return zoneinfo.ZoneInfo(name)
        if own := os.environ.get("TZ", "").lstrip(":"):
            return zoneinfo.ZoneInfo(own)
        with _LOCAL.open("rb") as table:
            return zoneinfo.ZoneInfo.from_file(table)
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):
        if not name:
            return UTC
        raise ValueError("this time zone is unknown here; write one such as Europe/Berlin") from None


_LOCAL = Path("/etc/localtime")


def is_warm(spans: Sequence[KeepWarmSpan], zone: tzinfo, now: float) -> bool:
    """Whether ``now`` (Unix seconds) is within one of the spans."""
    return any(begin <= now < end for begin, end in _occurrences(spans, zone, now))


def next_change(spans: Sequence[KeepWarmSpan], zone: tzinfo, now: float) -> float | None:
    """Return when ``is_warm`` changes next, in Unix seconds; ``None`` if it does not within a week."""
    warm = is_warm(spans, zone, now)
    edges = sorted({edge for pair in _occurrences(spans, zone, now) for edge in pair if edge > now})
    return next((edge for edge in edges if is_warm(spans, zone, edge) != warm), None)


def _occurrences(spans: Sequence[KeepWarmSpan], zone: tzinfo, now: float) -> Iterator[tuple[float, float]]:
    """Yield beginning and end (Unix seconds) of each occurrence near ``now``."""
    today = datetime.fromtimestamp(now, zone).date()
    for offset in range(-2, _HORIZON_DAYS + 1):
        day = today + timedelta(days=offset)
        for span in spans:
            if day.weekday() in span.days:
                end_min = span.end_min + (_DAY_MIN if span.end_min <= span.start_min else 0)
                yield _at(day, span.start_min, zone), _at(day, end_min, zone)


def _at(day: date, minutes: int, zone: tzinfo) -> float:
    day += timedelta(days=minutes // _DAY_MIN)
    hour, minute = divmod(minutes % _DAY_MIN, 60)
    return datetime.combine(day, time(hour, minute), zone).astimezone(UTC).timestamp()
