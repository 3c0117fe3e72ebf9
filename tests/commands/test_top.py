"""``hotseat top``: what it shows, its keys, and terminals of every size."""

from __future__ import annotations

import asyncio
import datetime
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import pytest
from click.testing import CliRunner
from rich.text import Text
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from fakes.admin_api import model_status, stats
from hotseat.admin.schema import ModelStatus, StatsResponse
from hotseat.cli import main
from hotseat.commands import top_view
from hotseat.commands._errors import CommandFailed, LauncherUnreachable
from hotseat.commands.top_app import LogScreen, TopApp
from hotseat.installation import install_extra

NOW = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
WITHIN_S = 30.0


T = TypeVar("T", bound=msgspec.Struct)
AT = "2026-01-01T11:59:58Z"
MOVE = {"was": "ready", "cause": "evicted", "needed_by": "coder", "at": AT}
GPU = {"device": "0", "name": "RTX 4090", "total_mib": 24576, "used_mib": 12288, "busy_percent": 71}
WHY = {"summary": "out of memory", "hint": None}

STATS = stats(
    {
        "chat": model_status("draining", requests=4, in_flight=2, footprint={"0": 0.6}, last_move=MOVE),
        "coder": model_status("stopped", requests=4, waiting=3, phase="making room", eta_s=41.0),
        "broken": model_status("backoff", requests=4, retry_in_s=8.0, last_error=WHY),
    },
    budget={"0": 0.9},
    gpus=[GPU],
    failures=[{"at": AT, "model": "broken", "run": 1, "cause": "start_failed", **WHY}],
)


def parsed(fields: dict[str, Any]) -> StatsResponse:
    return msgspec.convert(fields, StatsResponse)


class FakeLauncher:
    """Answers with what it holds."""

    url = "http://127.0.0.1:8000"

    def __init__(self) -> None:
        self.stats = STATS
        self.orders: list[tuple[str, Any]] = []
        self.problem: Exception | None = None

    def get(self, path: str, kind: type[T]) -> T:
        if self.problem is not None:
            raise self.problem
        lines = [f"line {n}" for n in range(50)] + ["\x1b[31mred"]
        return msgspec.convert({"model": "x", "lines": lines} if "/logs/" in path else self.stats, kind)

    def post(self, path: str, body: msgspec.Struct, kind: type[T]) -> T:
        if self.problem is not None:
            raise self.problem
        self.orders.append((path, msgspec.to_builtins(body)["route"]))
        return msgspec.convert({"model": "x", **model_status()}, kind)


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
        async with app.run_test(size=size, notifications=True) as pilot:
            if fake.problem is None:
                await until(pilot, lambda: app.query_one(DataTable).row_count > 0)
            await story(app, pilot, fake)

    asyncio.run(run())


def test_it_shows_models_gpus_the_queue_and_failures() -> None:
    async def story(app: TopApp, pilot: Pilot[None], fake: FakeLauncher) -> None:
        table = app.query_one(DataTable)
        rows = [[cell.plain for cell in table.get_row_at(n)] for n in range(3)]
        assert rows[0][:4] == ["chat", "draining", "60%", "2"]
        assert rows[0][-1] == "making room for coder"
        assert rows[1][-1] == "making room; start takes about 41 s"
        assert rows[2][-1] == "next try in 8 s; out of memory"
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
            ("/admin/start", "chat"),
            ("/admin/stop", "coder"),
        ]

    watched(story)


def test_an_order_that_is_refused_is_told() -> None:
    async def story(app: TopApp, pilot: Pilot[None], fake: FakeLauncher) -> None:
        fake.problem = CommandFailed("it is [not] allowed")
        await pilot.press("s")
        await until(pilot, lambda: bool(app.screen.query("Toast")))
        assert "it is [not] allowed" in str(app.screen.query_one("Toast").render())

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
        fake.stats = stats({"tiny": model_status()})
        await until(pilot, lambda: app.query_one(DataTable).row_count == 1)
        await pilot.press("s")
        await until(pilot, lambda: bool(fake.orders))
        assert fake.orders == [("/admin/start", "tiny")]

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


def test_token_rates_are_an_average_that_a_restart_does_not_break() -> None:
    def chat(tokens: int) -> dict[str, ModelStatus]:
        return {"chat": msgspec.convert(model_status(tokens_out=tokens), ModelStatus)}

    rates = top_view.TokenRates()
    assert [rates.add(chat(n), at) for at, n in ((0.0, 100), (2.0, 150))] == [{"chat": 0.0}, {"chat": 25.0}]
    assert rates.add(chat(3), 3.0) == {"chat": 0.0}
    for at in range(4, 60):
        latest = rates.add(chat(3), float(at))
    assert latest == {"chat": 0.0}
    assert len(rates) < 20


@pytest.mark.parametrize(
    ("terms", "lines"),
    [
        ({}, 0),
        ({"budget": {"0": 0.9}}, 1),
        ({"a": model_status(footprint={"0": 1.7}), "budget": {"0": 1.0}}, 1),
        ({"gpus": [GPU | {"total_mib": 0, "used_mib": 0, "busy_percent": None}]}, 1),
    ],
)
def test_odd_numbers_still_make_a_line(terms: dict[str, Any], lines: int) -> None:
    for width in (1, 40, 200):
        assert len(top_view.budget(parsed(stats(**terms)), width)) == lines


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hotseat.commands.top_app", None)
    done = CliRunner().invoke(main, ["top", "--url", "http://127.0.0.1:1"])
    assert done.exit_code == 1
    assert f"needs an extra package: {install_extra('top')}" in done.output


def test_a_queued_model_says_what_it_waits_for() -> None:
    queued = model_status("stopped", waiting=2, eta_s=30.0)
    ready = model_status("ready", footprint={"0": 0.9})
    draining = model_status("draining", footprint={"0": 0.9})
    start = "start takes about 30 s"

    def detail(**models: Any) -> str:
        return top_view.rows(parsed(stats({"chat": queued, **models})).models, {}, NOW)[0][-1]

    assert detail(coder=ready) == f"queued; coder must stop first; {start}"
    assert detail(coder=ready, tiny=ready) == f"queued; coder or tiny must stop first; {start}"
    assert detail(coder=draining, tiny=ready) == f"queued; waiting for coder to stop; {start}"
    assert detail() == f"queued; {start}"
    assert detail(chat=queued | {"waiting": 0}, coder=ready) == ""
    ordered = queued | {"waiting": 0, "requested": True}
    assert detail(chat=ordered, coder=draining).startswith("queued; waiting for coder")
    assert detail(chat=ready) == ""
