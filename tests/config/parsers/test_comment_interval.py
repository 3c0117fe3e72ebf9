"""``keepalive_comments``: a duration, true or false."""

from __future__ import annotations

import pytest

from hotseat.config.parsers.times import comment_interval


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(True, 2.0), ("on", 2.0), (False, 0.0), ("off", 0.0), (0, 0.0), ("15s", 15.0), ("0.1", 0.1), (30, 30.0)],
)
def test_the_interval_that_is_meant(written: object, seconds: float) -> None:
    assert comment_interval(written) == seconds


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("often", "true, false or a duration"),
        ("10ms", "at least 0.1 s"),
        (-1, "negative"),
        (None, "expected"),
    ],
)
def test_what_is_no_interval_is_refused(written: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        comment_interval(written)
