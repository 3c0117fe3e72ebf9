"""The page's data: the latest state for every viewer, lanes of a timeline, configurations less secrets."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from hotseat import logs
from hotseat.telemetry.history import RecordedMove
from hotseat.web.configuration import DOTS, without_secrets
from hotseat.web.live import FRESH_S, LiveTopic
from hotseat.web.speed import WINDOW_S, Speedometer
from hotseat.web.timeline import lanes


class Source:
    """A state that is changed by hand, and a clock."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.reads = 0
        self.now = 0.0
        self.topic = LiveTopic(self.read, lambda: self.now)

    def read(self) -> dict[str, Any]:
        self.reads += 1
        return dict(self.state)

    def changes(self, since: int) -> tuple[int, Any]:
        self.now += FRESH_S
        version = self.topic.refresh()
        found = self.topic.since(since)
        return version, None if found is None else json.loads(found)


def test_a_viewer_gets_everything_first_and_then_what_changed() -> None:
    source = Source()
    source.state = {"a": 1, "b": 2}
    seen, told = source.changes(0)
    assert told == {"a": 1, "b": 2}
    assert source.changes(seen) == (seen, None)
    source.state = {"a": 1, "c": 3}
    latest, told = source.changes(seen)
    assert told == {"b": None, "c": 3}
    assert source.changes(0)[1] == {"a": 1, "c": 3}, "a new viewer hears nothing of what has gone"
    assert source.changes(latest)[1] is None


def test_a_slow_viewer_gets_the_latest_state_alone() -> None:
    source = Source()
    source.state = {"a": 0}
    seen, _ = source.changes(0)
    for n in range(1, 100):
        source.state = {"a": n}
        source.changes(0)
    assert source.changes(seen)[1] == {"a": 99}


def test_ten_viewers_share_one_reading() -> None:
    source = Source()
    for _ in range(10):
        source.topic.refresh()
    assert source.reads == 1


def move(at: float, model: str, state: str, cause: str = "demand") -> RecordedMove:
    return RecordedMove(at=at, model=model, state=state, cause=cause)


def test_lanes_are_cut_to_the_time_that_is_shown_and_go_on_until_now() -> None:
    found = lanes(
        [
            move(10, "chat", "starting"),
            move(20, "chat", "ready"),
            move(60, "chat", "stopped"),
            move(70, "coder", "ready"),
        ],
        since=30,
        now=100,
    )
    assert [(one["state"], one["from"], one["to"]) for one in found["chat"]] == [("ready", 30, 60)]
    assert [(one["state"], one["from"], one["to"]) for one in found["coder"]] == [("ready", 70, 100)]


def test_what_an_ended_hotseat_left_ends_with_it() -> None:
    found = lanes(
        [move(10, "chat", "ready"), move(50, "coder", "ready"), move(90, "", "started")], since=0, now=200
    )
    assert [(one["from"], one["to"]) for one in found["chat"]] == [(10, 50)]


SECRET = "sk-very-secret-0123456789"


@pytest.mark.parametrize(
    "text",
    [
        f"keys:\n  alice:\n    key: {SECRET}\n    admin: true\n",
        f"keys: {{alice: {{key: '{SECRET}'}}}}\n",
        f"keys:\n  alice: {SECRET}\n",
        f"api_secret: |\n  {SECRET}\nmodels: {{}}\n",
        f"models:\n  chat:\n    env:\n      HF_TOKEN: {SECRET}\n",
        f"models:\n  chat:\n    command: vllm serve --api-key {SECRET}\n",
        f"models:\n  chat:\n    command: [vllm, '--api-key', '{SECRET}']\n",
        f"models:\n  chat:\n    command: vllm --api-key={SECRET} --port 1\n",
        f"rate_store: redis://user:{SECRET}@127.0.0.1/0\n",
        f"basic_auth:\n  user: me\n  password: &p {SECRET}\nx-other: {{password: *p}}\n",
    ],
)
def test_no_secret_of_the_configuration_is_shown(text: str) -> None:
    shown = without_secrets(text)
    assert SECRET not in shown
    assert DOTS in shown or logs.HIDDEN in shown
    assert shown.count("\n") == text.count("\n"), "lines keep their numbers"


def test_what_is_no_secret_is_shown_as_it_is() -> None:
    text = (
        "# a comment\nkeys:\n  alice:\n    key: ${ALICE_KEY}\n    admin: true\n    models: [chat]\n"
        "models:\n  chat:\n    command: vllm serve --max-tokens 5\n    footprint: 0.5\n"
    )
    assert without_secrets(text) == text


def test_the_speed_is_learned_from_streams_that_have_ended() -> None:
    clock = [0.0]
    running: list[Any] = []
    requests = SimpleNamespace(in_flight=lambda: running, watch=None, cancel=None)
    speed = Speedometer(requests, lambda: clock[0])  # type: ignore[arg-type]
    running.append(SimpleNamespace(model="chat", stream=True, bytes_out=0))
    assert speed.read() == {}
    ended = SimpleNamespace(model="chat", stream=True, status=200, bytes_out=2000, tokens_out=10)
    speed.finished(ended)  # type: ignore[arg-type]
    clock[0] += WINDOW_S
    speed.read()
    running[0].bytes_out = 4000
    clock[0] += WINDOW_S
    assert speed.read() == {"chat": round(4000 / 200 / WINDOW_S, 1)}


def test_the_log_keeps_its_latest_lines_for_the_page() -> None:
    recent = logs.RecentLines()
    for n in range(recent.KEPT + 10):
        recent.add(str(n))
    count, lines = recent.since(0)
    assert (count, len(lines), lines[-1]) == (recent.KEPT + 10, recent.KEPT, str(recent.KEPT + 9))
    recent.add("one more")
    assert recent.since(count) == (count + 1, ["one more"])
    assert recent.since(count + 1) == (count + 1, [])
