"""``hotseat top``: what it shows, its keys, and terminals of every size."""

from __future__ import annotations

import asyncio
import datetime
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from click.testing import CliRunner
from rich.text import Text
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from hotseat.cli import main
from hotseat.commands import top_view
from hotseat.commands._errors import CommandFailed, LauncherUnreachable
from hotseat.commands.top_app import LogScreen, TopApp

NOW = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
WITHIN_S = 30.0


def model(state: str = "ready", **terms: Any) -> dict[str, Any]:
    return {
        "state": state,
        "in_flight": 0,
        "waiting": 0,
        "requests": 4,
        "tokens_out": 0,
        "footprint": {},
        **terms,
    }


STATS: dict[str, Any] = {
    "models": {
        "chat": model("draining", in_flight=2, footprint={"0": 0.6}, last_move={"needed_by": "coder"}),
        "coder": model("stopped", waiting=3, phase="making room", eta_s=41.0),
        "broken": model("backoff", retry_in_s=8.0, last_error={"summary": "out of memory", "hint": None}),
    },
    "budget": {"0": 0.9},
    "gpus": [{"device": "0", "name": "RTX 4090", "total_mib": 24576, "used_mib": 12288, "busy_percent": 71}],
    "failures": [
        {"at": "2026-01-01T11:59:58Z", "model": "broken", "cause": "start_failed", "summary": "out of memory"}
    ],
}


class FakeLauncher:
    """Answers with what it holds."""

    url = "http://127.0.0.1:8000"

    def __init__(self, stats: Mapping[str, Any] = STATS) -> None:
        self.stats = dict(stats)
        self.orders: list[tuple[str, Any]] = []
        self.problem: Exception | None = None
        self.answered = threading.Semaphore(0)

    def get(self, path: str) -> dict[str, Any]:
        self.answered.release()
        if self.problem is not None:
            raise self.problem
        return (
            {"lines": [f"line {n}" for n in range(50)] + ["\x1b[31mred"]} if "/logs/" in path else self.stats
        )

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self.problem is not None:
            raise self.problem
        self.orders.append((path, body))
        return {}


def seen(app: TopApp, name: str) -> str:
    shown = app.screen.query_one(name, Static).render()
    return shown.plain if isinstance(shown, Text) else str(shown)


async def until(pilot: Pilot[None], so: Callable[[], bool]) -> None:
    """Let the view go on until this holds."""
    async with asyncio.timeout(WITHIN_S):
        while not so():
            await pilot.pause(0.02)


def watched(
    story: Callable[[TopApp, Pilot[None], FakeLauncher], Awaitable[None]],
    size: tuple[int, int] = (120, 24),
    launcher: FakeLauncher | None = None,
) -> None:
    async def run() -> None:
        fake = launcher or FakeLauncher()
        app = TopApp(fake)
        async with app.run_test(size=size) as pilot:
            if fake.problem is None:
                await until(pilot, lambda: app.query_one(DataTable).row_count > 0)
            await story(app, pilot, fake)

    asyncio.run(run())


def test_it_shows_models_gpus_the_queue_and_failures() -> None:
    async def story(app: TopApp, pilot: Pilot[None], fake: FakeLauncher) -> None:
        table = app.query_one(DataTable)
        rows = [[cell.plain for cell in table.get_row_at(n)] for n in range(3)]
        assert rows[0][:4] == ["chat", "draining", "60%", "2"]
        assert rows[0][-1] == "makes room for coder"
        assert rows[1][-1] == "making room, a start takes about 41 s"
        assert rows[2][-1] == "tried again in 8 s, out of memory"
        assert "2 running  3 waiting  12 requests" in seen(app, "#total")
        assert "60% of 90% taken  12.0/24.0 GiB used  71% busy  RTX 4090" in seen(app, "#budget")
        assert seen(app, "#failures") == "11:59:58 broken start_failed: out of memory"

    watched(story)


def test_keys_start_and_stop_the_chosen_model() -> None:
    async def story(app: TopApp, pilot: Pilot[None], fake: FakeLauncher) -> None:
        await pilot.press("s")
        await pilot.press("down", "x")
        await until(pilot, lambda: len(fake.orders) == 2)
        assert sorted(fake.orders) == [
            ("/admin/start", {"route": "chat"}),
            ("/admin/stop", {"route": "coder"}),
        ]

    watched(story)


def test_an_order_that_is_refused_is_told() -> None:
    async def story(app: TopApp, pilot: Pilot[None], fake: FakeLauncher) -> None:
        fake.problem = CommandFailed("it is [not] allowed")
        await pilot.press("s")
        await until(pilot, lambda: bool(app._notifications))
        assert [(note.message, note.markup) for note in app._notifications] == [
            ("it is [not] allowed", False)
        ]

    watched(story)


def test_logs_come_and_go_and_do_not_speak_to_the_terminal() -> None:
    async def story(app: TopApp, pilot: Pilot[None], fake: FakeLauncher) -> None:
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, LogScreen) and "red" in seen(app, "#text"))
        assert "\x1b" not in seen(app, "#text")
        assert "line 49" in seen(app, "#text")
        assert "line 0\n" not in seen(app, "#text")  # the end is what counts
        await pilot.press("escape")
        assert not isinstance(app.screen, LogScreen)

    watched(story)


def test_a_launcher_that_goes_and_comes_back() -> None:
    async def story(app: TopApp, pilot: Pilot[None], fake: FakeLauncher) -> None:
        await until(pilot, lambda: "no launcher answers" in seen(app, "#total"))
        fake.problem = None
        await until(pilot, lambda: "requests" in seen(app, "#total"))
        assert app.query_one(DataTable).row_count == 3

    fake = FakeLauncher()
    fake.problem = LauncherUnreachable("no launcher answers at X\nStart one")
    watched(story, launcher=fake)


def test_models_that_are_configured_away_leave() -> None:
    async def story(app: TopApp, pilot: Pilot[None], fake: FakeLauncher) -> None:
        await pilot.press("down", "down")
        fake.stats = {"models": {"tiny": model()}}
        await until(pilot, lambda: app.query_one(DataTable).row_count == 1)
        await pilot.press("s")
        await until(pilot, lambda: bool(fake.orders))
        assert fake.orders == [("/admin/start", {"route": "tiny"})]

    watched(story)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (10, 3), (40, 6), (80, 13), (300, 100)])
def test_no_terminal_is_too_small_or_too_large(size: tuple[int, int]) -> None:
    async def story(app: TopApp, pilot: Pilot[None], fake: FakeLauncher) -> None:
        await pilot.press("down", "l")
        await until(pilot, lambda: isinstance(app.screen, LogScreen))
        for other in ((1, 1), (5, 40), (120, 2), size):
            await pilot.resize_terminal(*other)
        await pilot.press("escape", "up", "x")
        await until(pilot, lambda: bool(fake.orders))
        assert app.screen.size == size

    watched(story, size)


def test_the_pace_is_an_average_that_a_restart_does_not_break() -> None:
    pace = top_view.RequestRates()
    told = [pace.note({"models": {"chat": {"tokens_out": n}}}, at) for at, n in ((0.0, 100), (2.0, 150))]
    assert told == [{"chat": 0.0}, {"chat": 25.0}]
    assert pace.note({"models": {"chat": {"tokens_out": 3}}}, 3.0) == {"chat": 0.0}
    for at in range(4, 60):
        latest = pace.note({"models": {"chat": {"tokens_out": 3}}}, float(at))
    assert latest == {"chat": 0.0}
    assert len(pace._seen["chat"]) < 20


@pytest.mark.parametrize(
    ("stats", "lines"),
    [
        ({}, []),
        ({"budget": {"0": 0.9}}, 1),
        ({"models": {"a": model(footprint={"0": 1.7})}, "budget": {"0": 1.0}}, 1),
        ({"gpus": [{"device": "1", "total_mib": 0, "used_mib": 0, "busy_percent": None}]}, 1),
    ],
)
def test_odd_numbers_make_a_line_still(stats: dict[str, Any], lines: Any) -> None:
    for width in (1, 40, 200):
        made = top_view.budget(stats, width)
        assert len(made) == (lines or 0)


def test_without_its_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hotseat.commands.top_app", None)
    done = CliRunner().invoke(main, ["top", "--url", "http://127.0.0.1:1"])
    assert done.exit_code == 1
    assert "pip install 'hotseat[top]'" in done.output


def test_who_waits_is_told_for_what() -> None:
    stopped = {"state": "stopped", "footprint": {}, "waiting": 2, "eta_s": 30}
    ready = {"state": "ready", "footprint": {"0": 0.9}}
    going = {"state": "draining", "footprint": {"0": 0.9}, "last_move": {"needed_by": "chat"}}

    def told(**models: Any) -> str:
        return top_view.rows({"models": {"chat": stopped, **models}}, {}, NOW)[0][-1]

    assert told(coder=ready) == "waits for the turn of coder to end, a start takes about 30 s"
    assert told(coder=going, tiny=ready) == "waits until coder has gone, a start takes about 30 s"
    assert told() == "waits for its turn, a start takes about 30 s"
    assert told(chat=stopped | {"waiting": 0}, coder=ready) == ""
    assert told(chat=stopped | {"waiting": 0, "requested": True}, coder=going).startswith("waits until coder")
    assert told(chat=ready) == ""
