"""The terminal view of ``hotseat top``: polls ``/stats`` every second in a thread, and shows it."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from typing import ClassVar, Literal, Protocol, TypeVar

import click
import msgspec
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.coordinate import Coordinate
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static

from hotseat.admin.schema import LogsResponse, ModelResponse, StartRequest, StatsResponse, StopRequest
from hotseat.commands import top_view
from hotseat.commands._client import path_segment
from hotseat.commands._output import one_line

POLL_EVERY_S = 1.0
SHOWN_LOG_LINES = 200
SHOWN_FAILURES = 5
LOW = 14
"""Terminals with fewer lines than this show nothing but the models."""

T = TypeVar("T", bound=msgspec.Struct)


class StatsClient(Protocol):
    """The part of ``_client.LauncherClient`` that the view uses."""

    @property
    def url(self) -> str:
        """The launcher's URL."""

    def get(self, path: str, kind: type[T]) -> T:
        """GET a JSON object. Raises ``click.ClickException``."""

    def post(self, path: str, body: msgspec.Struct, kind: type[T]) -> T:
        """POST a JSON object for another. Raises ``click.ClickException``."""


class StatsPoll:
    """Calls ``poll`` again and again until ``end``.

    Runs in a daemon thread, so that a launcher that hangs does not delay the end of the program.
    """

    def __init__(self, poll: Callable[[], None]) -> None:
        self._poll = poll
        self._end = threading.Event()
        self._wake = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self._end.is_set():
            self._wake.clear()
            try:
                self._poll()
            except RuntimeError:  # the view has been closed meanwhile
                return
            self._wake.wait(POLL_EVERY_S)

    def soon(self) -> None:
        """Poll now instead of at the next second."""
        self._wake.set()

    def end(self) -> None:
        """Stop polling."""
        self._end.set()
        self._wake.set()


class TopApp(App[None]):
    """Models, GPUs and failures; keys start and stop models."""

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
        Binding("l", "logs", "Log"),
        Binding("q,ctrl+c", "quit", "Quit"),
    ]

    def __init__(self, client: StatsClient, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock()`` is monotonic seconds."""
        super().__init__()
        self._client, self._clock = client, clock
        self._rates = top_view.TokenRates()
        self._names: list[str] = []
        self._poll: StatsPoll | None = None

    def compose(self) -> ComposeResult:
        yield Static(Text(f"connecting to {self._client.url} …"), id="total")
        yield Static(id="budget")
        yield DataTable[Text](id="models", cursor_type="row", zebra_stripes=True)
        yield Static(id="failures")
        yield Footer()

    def on_mount(self) -> None:
        """Start polling."""
        self._table().add_columns(*top_view.HEAD)
        self._poll = StatsPoll(self._refresh)

    def on_unmount(self) -> None:
        """Stop polling."""
        if self._poll is not None:
            self._poll.end()

    def on_resize(self, event: Resize) -> None:
        """Hide what does not fit on a low terminal."""
        self.screen_stack[0].set_class(event.size.height < LOW, "low")

    # content

    def _refresh(self) -> None:
        try:
            stats = self._client.get("/stats", StatsResponse)
        except click.ClickException as error:
            self.call_from_thread(self._show_error, error.format_message())
        else:
            self.call_from_thread(self.show, stats)

    def show(self, stats: StatsResponse) -> None:
        """Show a response."""
        now = datetime.datetime.now(datetime.UTC)
        rates = self._rates.add(stats.models, self._clock())
        base = self.screen_stack[0]
        at = now.astimezone().strftime("%H:%M:%S")
        line = f"{at}  {top_view.total(stats.models, rates)}  {self._client.url}"
        base.query_one("#total", Static).update(Text(line, no_wrap=True, overflow="ellipsis"))
        base.query_one("#budget", Static).update(_lines(top_view.budget(stats, self.size.width)))
        base.query_one("#failures", Static).update(_lines(top_view.failures(stats, SHOWN_FAILURES)))
        self._fill(top_view.rows(stats.models, rates, now))

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

    def _show_error(self, message: str) -> None:
        line = one_line(message.splitlines()[0] if message else "no answer")
        self.screen_stack[0].query_one("#total", Static).update(Text(line, style="bold red", no_wrap=True))

    def _table(self) -> DataTable[Text]:
        return self.screen_stack[0].query_one("#models", DataTable)

    # keys

    def _selected(self) -> str | None:
        at = self._table().cursor_row
        return self._names[at] if 0 <= at < len(self._names) else None

    def action_order(self, verb: str) -> None:
        """Start or stop the model under the cursor."""
        name = self._selected()
        if name is not None:
            threading.Thread(target=self._order, args=(verb, name), daemon=True).start()

    def _order(self, verb: str, name: str) -> None:
        try:
            if verb == "start":
                self._client.post("/admin/start", StartRequest(route=name), ModelResponse)
            else:
                self._client.post("/admin/stop", StopRequest(route=name), ModelResponse)
        except click.ClickException as error:
            self.call_from_thread(self._notify, error.format_message(), "error")
        else:
            self.call_from_thread(self._notify, f"{verb} {name}: ordered", "information")

    def _notify(self, message: str, severity: Literal["information", "error"]) -> None:
        self.notify(one_line(message), severity=severity, markup=False)
        if self._poll is not None:
            self._poll.soon()

    def action_logs(self) -> None:
        """Show the log of the model under the cursor."""
        name = self._selected()
        if name is not None and len(self.screen_stack) == 1:
            self.push_screen(LogScreen(self._client, name))


class LogScreen(Screen[None]):
    """The latest log lines of one model, live."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,l,q", "app.pop_screen", "Back")]
    CSS = "#lines { height: 1fr; overflow: hidden; content-align: left bottom; }"

    def __init__(self, client: StatsClient, model: str) -> None:
        super().__init__()
        self._client, self._model = client, model
        self._poll: StatsPoll | None = None

    def compose(self) -> ComposeResult:
        yield Static(Text(f"log of {self._model}", style="reverse"))
        with Vertical(id="lines"):
            yield Static(id="text")
        yield Footer()

    def on_mount(self) -> None:
        """Start polling."""
        self._poll = StatsPoll(self._refresh)

    def on_unmount(self) -> None:
        """Stop polling."""
        if self._poll is not None:
            self._poll.end()

    def _refresh(self) -> None:
        path = f"/logs/{path_segment(self._model)}?lines={SHOWN_LOG_LINES}"
        try:
            lines = self._client.get(path, LogsResponse).lines
        except click.ClickException as error:
            lines = error.format_message().splitlines()
        self.app.call_from_thread(self._show, [one_line(line.expandtabs()) for line in lines])

    def _show(self, lines: list[str]) -> None:
        if self.is_mounted:
            room = max(1, self.size.height - 2)
            self.query_one("#text", Static).update(_lines(lines[-room:]))


def _lines(lines: list[str]) -> Text:
    return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
