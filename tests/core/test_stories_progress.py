"""A start that downloads is not killed while more arrives, and one that fails says what was seen of it."""

from __future__ import annotations

from core_story import Story, model

from hotseat.core import events as ev
from hotseat.core.policy import LONGEST_DOWNLOAD_S
from hotseat.core.states import State


def observed(story: Story, **seen: object) -> None:
    run = story.core.view("chat").run
    assert run is not None
    story.tell(ev.StartObserved("chat", run, **seen))  # type: ignore[arg-type]


def state(story: Story) -> State:
    return story.core.view("chat").state


def test_a_start_goes_on_while_it_downloads_and_has_its_whole_time_afterwards() -> None:
    s = Story(model("chat", start_timeout_s=100))
    s.ask("chat")
    for _ in range(20):
        s.pass_time(90)
        observed(s, downloading=True)
        assert state(s) is State.STARTING
    s.pass_time(99)
    assert state(s) is State.STARTING
    s.pass_time(2)
    assert state(s) is State.STOPPING


def test_a_download_that_never_ends_does() -> None:
    s = Story(model("chat", start_timeout_s=1000))
    s.ask("chat")
    for _ in range(int(LONGEST_DOWNLOAD_S / 900) + 1):
        if state(s) is State.STARTING:
            s.pass_time(900)
            observed(s, downloading=True) if state(s) is State.STARTING else None
    assert state(s) is State.STOPPING


def test_a_start_that_downloaded_says_nothing_about_the_next_one() -> None:
    s = Story(model("chat", start_timeout_s=100))
    s.ask("chat")
    s.pass_time(90)
    observed(s, downloading=True)
    s.ready("chat", after=50)
    assert s.record("chat").start_cost_s is None


def test_a_start_that_was_not_reached_says_where_it_was_looked_for() -> None:
    s = Story(model("chat", start_timeout_s=100))
    ana = s.ask("chat")
    observed(s, note="it listens at [::1]:8000, and was looked for at 127.0.0.1:23456")
    s.pass_time(101)
    assert "was looked for at 127.0.0.1:23456" in s.refused[ana].message
