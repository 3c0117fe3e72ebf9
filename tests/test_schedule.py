"""Keep-warm spans: read from text, and their boundaries over nights, weeks and summer time."""

from __future__ import annotations

from datetime import datetime

import pytest

from hotseat.core.spec import KeepWarmSpan
from hotseat.schedule import is_warm, next_change, parse_span, zone_of

BERLIN = zone_of("Europe/Berlin")
WEEKDAYS = frozenset(range(5))


def at(text: str) -> float:
    """A wall's time in Berlin, as seconds since 1970."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("text", "days", "start_min", "end_min"),
    [
        ("Mon-Fri 08:00-18:00", WEEKDAYS, 480, 1080),
        ("mon - fri 8:00 - 18:00", WEEKDAYS, 480, 1080),
        ("Sat,Sun 10:00-24:00", {5, 6}, 600, 1440),
        ("Fri-Mon 22:00-06:00", {4, 5, 6, 0}, 1320, 360),
        ("Mon, Wed-Thursday 00:00-24:00", {0, 2, 3}, 0, 1440),
        ("07:30-09:00", set(range(7)), 450, 540),
        ("Tuesday 09:05-09:06", {1}, 545, 546),
    ],
)
def test_spans_are_read(text: str, days: set[int], start_min: int, end_min: int) -> None:
    assert parse_span(text) == KeepWarmSpan(days=frozenset(days), start_min=start_min, end_min=end_min)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a span"),
        ("always", "expected a span"),
        ("Mon-Fri", "expected a span"),
        ("Mon-Fri 8-18", "expected a span"),
        ("Mon-Fri 08:00-25:00", "between 00:00 and 24:00"),
        ("Mon-Fri 24:00-08:00", "between 00:00 and 24:00"),
        ("Mon-Fri 08:60-09:00", "between 00:00 and 24:00"),
        ("08:00-08:00", "start and end are the same"),
        ("Mo-Fr 08:00-18:00", "unknown day; write Mon"),
        ("Montag 08:00-18:00", "unknown day; write Mon"),
    ],
)
def test_what_is_no_span_is_told(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_span(text)


def test_a_working_day() -> None:
    spans = [parse_span("Mon-Fri 08:00-18:00")]
    assert not is_warm(spans, BERLIN, at("2026-11-23 07:59:59"))
    assert is_warm(spans, BERLIN, at("2026-11-23 08:00"))
    assert is_warm(spans, BERLIN, at("2026-11-23 17:59:59"))
    assert not is_warm(spans, BERLIN, at("2026-11-23 18:00"))
    assert not is_warm(spans, BERLIN, at("2026-11-22 12:00"))
    assert next_change(spans, BERLIN, at("2026-11-23 07:00")) == at("2026-11-23 08:00")
    assert next_change(spans, BERLIN, at("2026-11-23 08:00")) == at("2026-11-23 18:00")
    assert next_change(spans, BERLIN, at("2026-11-27 18:00")) == at("2026-11-30 08:00")


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    spans = [parse_span("Fri 22:00-06:00")]
    assert is_warm(spans, BERLIN, at("2026-11-28 05:59"))
    assert not is_warm(spans, BERLIN, at("2026-11-27 05:59"))
    assert next_change(spans, BERLIN, at("2026-11-27 23:00")) == at("2026-11-28 06:00")
    assert next_change(spans, BERLIN, at("2026-11-28 06:00")) == at("2026-12-04 22:00")


def test_spans_that_touch_are_one() -> None:
    spans = [parse_span("08:00-12:00"), parse_span("12:00-14:00"), parse_span("13:00-15:00")]
    assert next_change(spans, BERLIN, at("2026-11-23 09:00")) == at("2026-11-23 15:00")


def test_always_and_never_do_not_change() -> None:
    assert next_change([parse_span("00:00-24:00")], BERLIN, at("2026-11-23 09:00")) is None
    assert is_warm([parse_span("00:00-24:00")], BERLIN, at("2026-11-23 00:00"))
    assert next_change([], BERLIN, at("2026-11-23 09:00")) is None


def test_summer_time_begins_and_ends_and_the_hours_stay_those_of_the_wall() -> None:
    spans = [parse_span("01:00-06:00")]
    spring = next_change(spans, BERLIN, at("2026-03-29 01:00"))
    assert spring == at("2026-03-29 06:00")
    assert spring - at("2026-03-29 01:00") == 4 * 3600
    autumn = next_change(spans, BERLIN, at("2026-10-25 01:00"))
    assert autumn == at("2026-10-25 06:00")
    assert autumn - at("2026-10-25 01:00") == 6 * 3600


def test_a_boundary_in_the_hour_that_does_not_exist_still_comes() -> None:
    spans = [parse_span("02:30-06:00")]
    begin = next_change(spans, BERLIN, at("2026-03-29 01:00"))
    assert begin is not None
    assert at("2026-03-29 01:59") <= begin <= at("2026-03-29 03:30")


def test_every_boundary_of_a_year_is_a_change() -> None:
    spans = [parse_span("Mon-Fri 08:00-18:00"), parse_span("Sat 22:00-04:00")]
    now, changes = at("2026-01-01 00:00"), -1
    while now < at("2027-01-01 00:00"):
        soon = next_change(spans, BERLIN, now)
        assert soon is not None
        assert soon > now
        assert is_warm(spans, BERLIN, soon) != is_warm(spans, BERLIN, soon - 1)
        now, changes = soon, changes + 1
    assert changes == 2 * (261 + 52)  # the last one found lies in the next year


def test_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert str(zone_of("")) == "Asia/Tokyo"
    monkeypatch.setenv("TZ", "nonsense")
    assert datetime.fromtimestamp(0, zone_of("")).utcoffset() is not None
    with pytest.raises(ValueError, match="time zone is unknown"):
        zone_of("Mars/Olympus")
    with pytest.raises(ValueError, match="time zone is unknown"):
        zone_of("../etc/passwd")
