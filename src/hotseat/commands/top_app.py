"""The terminal view of ``hotseat top``: asks for ``/stats`` every second, in a thread, and shows it."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import click
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.coordinate import Coordinate
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static

from hotseat.commands import top_view
from hotseat.commands._client import segment
from hotseat.commands._table import one_line

EVERY_S = 1.0
LOG_LINES = 200
TOLD_FAILURES = 5
LOW = 14
"""Terminals of fewer lines show the models, and nothing else that could go."""


class StatsClient(Protocol):
    """The running launcher (``launcher.Launcher``)."""

    url: str

    def get(self, path: str) -> dict[str, Any]:
        """A JSON object. Raises ``click.ClickException``."""

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A JSON object for a JSON object. Raises ``click.ClickException``."""


class StatsPoll:
    """Asks again and again until told to end; a daemon, so that a launcher that hangs delays nobody's end."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._end = threading.Event()
        self._now = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self._end.is_set():
            self._now.clear()
            try:
                self._ask()
            except RuntimeError:  # the view has been closed meanwhile
                return
            self._now.wait(EVERY_S)

    def soon(self) -> None:
        """Do not wait for the next time."""
        self._now.set()

    def end(self) -> None:
        """No more."""
        self._end.set()
        self._now.set()


class TopApp(App[None]):
    """Models, GPUs, failures; orders by key."""

    TITLE = "hotseat top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #total { height: 1; background: $panel; }
    #budget { height: auto; max-height: 4; }
    #models { height: 1fr; min-height: 3; }
    #failures { height: auto; max-height: 6; color: $error; }
    .low #failures, .low #budget, .low Footer { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "order('start')", "Start"),
        Binding("x", "order('stop')", "Stop"),
        Binding("l", "logs", "LogScreen"),
        Binding("q,ctrl+c", "quit", "Quit"),
    ]

    def __init__(self, asks: StatsClient, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._asks, self._clock = asks, clock
        self._pace = top_view.RequestRates()
        self._names: list[str] = []
        self._poll: StatsPoll | None = None

    def compose(self) -> ComposeResult:
        yield Static(Text(f"asking {self._asks.url} …"), id="total")
        yield Static(id="budget")
        yield DataTable[Text](id="models", cursor_type="row", zebra_stripes=True)
        yield Static(id="failures")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to ask."""
        self._table().add_columns(*top_view.HEAD)
        self._poll = StatsPoll(self._ask)

    def on_unmount(self) -> None:
        """Ask no more."""
        if self._poll is not None:
            self._poll.end()

    def on_resize(self, event: Resize) -> None:
        """Leave out what a low terminal has no room for."""
        self.screen_stack[0].set_class(event.size.height < LOW, "low")

    # what is told

    def _ask(self) -> None:
        try:
            stats = self._asks.get("/stats")
        except click.ClickException as problem:
            self.call_from_thread(self._show_problem, problem.format_message())
        else:
            self.call_from_thread(self.show, stats)

    def show(self, stats: Mapping[str, Any]) -> None:
        """Show one answer."""
        now = datetime.datetime.now(datetime.UTC)
        paces = self._pace.note(stats, self._clock())
        base = self.screen_stack[0]
        at = now.astimezone().strftime("%H:%M:%S")
        told = f"{at}  {top_view.total(stats, paces)}  {self._asks.url}"
        base.query_one("#total", Static).update(Text(told, no_wrap=True, overflow="ellipsis"))
        lines = top_view.budget(stats, self.size.width)
        base.query_one("#budget", Static).update(_lines(lines))
        base.query_one("#failures", Static).update(_lines(top_view.failures(stats, TOLD_FAILURES)))
        self._fill(top_view.rows(stats, paces, now))

    def _fill(self, rows: list[tuple[str, ...]]) -> None:
        table = self._table()
        names = [row[0] for row in rows]
        if names != self._names:
            self._names = names
            table.clear()
            for row in rows:
                table.add_row(*map(Text, row))
            return
        for at, row in enumerate(rows):
            for column, cell in enumerate(row):
                if table.get_cell_at(Coordinate(at, column)).plain != cell:
                    table.update_cell_at(Coordinate(at, column), Text(cell), update_width=True)

    def _show_problem(self, words: str) -> None:
        line = one_line(words.splitlines()[0] if words else "no answer")
        self.screen_stack[0].query_one("#total", Static).update(Text(line, style="bold red", no_wrap=True))

    def _table(self) -> DataTable[Text]:
        return self.screen_stack[0].query_one("#models", DataTable)

    # keys

    def _chosen(self) -> str | None:
        at = self._table().cursor_row
        return self._names[at] if 0 <= at < len(self._names) else None

    def action_order(self, verb: str) -> None:
        """Start or stop the model under the cursor."""
        name = self._chosen()
        if name is not None:
            threading.Thread(target=self._order, args=(verb, name), daemon=True).start()

    def _order(self, verb: str, name: str) -> None:
        try:
            self._asks.post(f"/admin/{verb}", {"route": name})
        except click.ClickException as problem:
            words, severity = problem.format_message(), "error"
        else:
            words, severity = f"{verb} {name}: ordered", "information"
        self.call_from_thread(self._ordered, words, severity)

    def _ordered(self, words: str, severity: Any) -> None:
        self.notify(one_line(words), severity=severity, markup=False)
        if self._poll is not None:
            self._poll.soon()

    def action_logs(self) -> None:
        """The logs of the model under the cursor."""
        name = self._chosen()
        if name is not None and len(self.screen_stack) == 1:
            self.push_screen(LogScreen(self._asks, name))


class LogScreen(Screen[None]):
    """The last lines of one model, as they come."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,l,q", "app.pop_screen", "Back")]
    CSS = "#lines { height: 1fr; overflow: hidden; content-align: left bottom; }"

    def __init__(self, asks: StatsClient, model: str) -> None:
        super().__init__()
        self._asks, self._model = asks, model
        self._poll: StatsPoll | None = None

    def compose(self) -> ComposeResult:
        yield Static(Text(f"logs of {self._model}", style="reverse"))
        with Vertical(id="lines"):
            yield Static(id="text")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to ask."""
        self._poll = StatsPoll(self._ask)

    def on_unmount(self) -> None:
        """Ask no more."""
        if self._poll is not None:
            self._poll.end()

    def _ask(self) -> None:
        try:
            lines = self._asks.get(f"/logs/{segment(self._model)}?lines={LOG_LINES}").get("lines", [])
        except click.ClickException as problem:
            lines = problem.format_message().splitlines()
        self.app.call_from_thread(self._show, [one_line(str(line).expandtabs()) for line in lines])

    def _show(self, lines: list[str]) -> None:
        if self.is_mounted:
            room = max(1, self.size.height - 2)
            self.query_one("#text", Static).update(_lines(lines[-room:]))


def _lines(lines: list[str]) -> Text:
    return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
