"""Clients that always give up do not evict; those that stay do; and some are told never to."""

from __future__ import annotations

import pytest
from core_story import Story, model

from hotseat.core import events as ev
from hotseat.core.errors import Code
from hotseat.core.patience import FORGET_S, MOST_GROUPS, Patience
from hotseat.core.scheduler import Scheduler
from hotseat.core.states import State
from hotseat.simulation.run import simulate
from hotseat.simulation.scenarios import autocomplete

EDITOR = "/v1/completions"
START_S = 28.0


def two(**terms: object) -> Story:
    """Chat is loaded and quiet, coder excludes it; both take long to start."""
    s = Story(model("chat", **terms), model("coder"))
    s.up("coder", cost=START_S)
    s.ask("chat", endpoint="/v1/chat/completions")
    s.pass_time(START_S)
    s.gone("coder", after=1)
    s.ready("chat", after=START_S)
    s.give_back(*s.granted)
    s.pass_time(60)
    s.since_last()
    return s


def complete(s: Story, patience_s: float = 8.0, pause_s: float = 4.0) -> int:
    """A completion is asked for, and given up."""
    request = s.ask("coder", endpoint=EDITOR)
    if s.waits(request):
        s.pass_time(patience_s)
        if s.state("chat") is State.STOPPING:
            s.gone("chat")
    if s.waits(request):
        s.withdraw(request)
    s.pass_time(pause_s)
    return request


def back_to_chat(s: Story) -> None:
    """Somebody chats again, and the model comes back."""
    s.ask("chat", endpoint="/v1/chat/completions")
    if s.state("coder") is State.STOPPING:
        s.gone("coder", after=1)
    s.ready("chat", after=START_S)
    s.give_back(*s.record("chat").leases)
    s.pass_time(60)
    s.since_last()


def test_completions_that_are_always_given_up_stop_the_chat_once_and_then_never() -> None:
    s = two()
    complete(s)
    assert s.since_last() == ["stop chat#1", "start coder#2"]
    complete(s)  # joins the start that is under way, and gives up again
    back_to_chat(s)
    for _ in range(20):
        request = complete(s)
        assert s.code(request) is Code.MODEL_NOT_LOADED
        assert s.refused[request].should_retry is False
        assert "gave up before it was" in s.refused[request].message
    assert s.since_last() == []
    assert s.state("chat") is State.READY


def test_autocomplete_beside_a_chat_leaves_the_chats_first_word_alone() -> None:
    scenario = autocomplete()
    result = simulate(scenario, Scheduler(scenario.scheduler))
    chat = result.waits_s["chat"]
    assert result.starts <= 5, "two lost starts, and the way back"
    assert sum(wait > 1.0 for wait in chat) <= 3  # the first start, and at most two that were lost
    assert chat[-40:] == [0.0] * 40
    assert len(chat) > 60
    # Every completion is answered, refused at once, or one of the few that taught that they are given up.
    assert result.given_up <= 4
    assert result.unanswered == 0


def test_a_client_that_stays_to_the_end_of_a_start_evicts_whenever_it_asks() -> None:
    s = two()
    for run in range(2, 6):
        ana = s.ask("coder", endpoint="/v1/chat/completions")
        s.gone("chat", after=1)
        s.ready("coder", after=START_S)
        assert s.holds(ana)
        s.give_back(ana)
        s.pass_time(60)
        back_to_chat(s)
        assert s.record("coder").run is None, run


def test_what_one_client_does_says_nothing_of_another() -> None:
    s = two()
    for _ in range(2):
        complete(s)
    back_to_chat(s)
    ana = s.ask("coder", endpoint="/v1/chat/completions")
    ben = s.ask("coder", endpoint=EDITOR, key="ben")
    assert s.waits(ana)
    assert s.waits(ben)
    assert s.since_last() == ["stop chat#2"]


def test_a_request_evicts_in_proportion_to_the_odds() -> None:
    patience = Patience()
    patience.learn("a", 8.0, stayed=False, now=0.0)
    assert patience.odds("a", START_S, 1.0) == pytest.approx(1 / 3)
    evicted = [patience.may_evict("a", START_S, 1.0) for _ in range(30)]
    assert sum(evicted) in (9, 10)
    patience.learn("a", 20.0, stayed=True, now=2.0)
    assert patience.odds("a", START_S, 3.0) == pytest.approx(0.6)
    patience.learn("a", 0.1, stayed=True, now=3.0)  # it need not wait: says nothing
    assert patience.odds("a", START_S, 3.0) == pytest.approx(0.6)


def test_short_starts_are_waited_for_by_those_who_would_not_wait_for_long_ones() -> None:
    patience = Patience()
    for _ in range(4):
        patience.learn("a", 8.0, stayed=False, now=0.0)
    assert patience.may_evict("a", 4.0, 1.0)
    assert not patience.may_evict("a", START_S, 1.0)
    assert not patience.may_evict("a", None, 1.0), "nobody knows how long it takes, and it has given up"


def test_what_a_client_did_is_forgotten_after_half_an_hour_and_little_is_kept() -> None:
    patience = Patience()
    for _ in range(9):
        patience.learn("a", 8.0, stayed=False, now=0.0)
    assert not patience.may_evict("a", START_S, FORGET_S)
    assert patience.may_evict("a", START_S, FORGET_S + 1)
    for number in range(MOST_GROUPS):
        patience.learn(str(number), 8.0, stayed=False, now=0.0)
    assert patience.odds("a", START_S, 1.0) == 1.0


def test_a_busy_model_does_not_teach_that_its_clients_are_impatient() -> None:
    s = Story(model("chat", max_in_flight=1))
    s.up("chat", cost=START_S)
    s.ask("chat")
    for _ in range(5):
        request = s.ask("chat", endpoint=EDITOR)
        s.pass_time(8)
        s.withdraw(request)
    assert s.record("chat").patience.odds(f" {EDITOR}", START_S, s.now) == 1.0


# may_evict: false, model: current


def test_a_route_that_may_not_evict_is_refused_at_once() -> None:
    s = two()
    request = s.ask("coder", endpoint=EDITOR, may_evict=False)
    assert s.code(request) is Code.MODEL_NOT_LOADED
    assert s.refused[request].status == 503
    assert "this request may not evict another model" in s.refused[request].message
    assert s.since_last() == []


def test_a_route_that_may_not_evict_starts_its_model_where_there_is_room() -> None:
    s = Story(model("chat", 0.5), model("coder", 0.5))
    s.up("chat")
    request = s.ask("coder", may_evict=False)
    s.ready("coder", after=2)
    assert s.holds(request)


def test_a_route_that_may_not_evict_is_answered_by_a_model_that_is_loaded_or_loads() -> None:
    s = two()
    ana = s.ask("coder")
    s.gone("chat", after=1)
    ben = s.ask("coder", may_evict=False)
    s.ready("coder", after=START_S)
    cy = s.ask("coder", may_evict=False)
    assert all(s.holds(request) for request in (ana, ben, cy))


def test_one_who_may_not_evict_does_not_evict_in_the_place_of_one_who_left() -> None:
    s = two(residency_s=600)
    ana = s.ask("coder")
    ben = s.ask("coder", may_evict=False)
    assert s.waits(ana)
    assert s.waits(ben)
    s.withdraw(ana)
    assert s.code(ben) is Code.MODEL_NOT_LOADED
    s.pass_time(900)
    assert s.since_last() == []


def test_one_who_may_not_evict_yields_to_everybody_in_line() -> None:
    s = Story(model("big", 0.9), model("small", 0.3), model("other", 0.4))
    s.up("other")
    s.ask("other")
    big = s.ask("big")
    small = s.ask("small", may_evict=False)
    assert s.waits(big)
    assert s.code(small) is Code.MODEL_NOT_LOADED, "the room is promised to the one before it"


def test_an_operators_order_is_carried_out_whoever_waits() -> None:
    s = two()
    s.tell(ev.StartRequested("coder"))
    s.gone("chat", after=1)
    ben = s.ask("coder", may_evict=False)
    s.ready("coder", after=START_S)
    assert s.holds(ben)
