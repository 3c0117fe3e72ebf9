"""Demo of hotseat with a real engine, in the terminal. Run by ``make demo``.

With ``DEMO_EXIT=1`` the demo ends by itself, with status 1 if a check failed. ``DEMO_PORT`` chooses the port
(default 8000; 0: any free one). Without a terminal the output is plain lines.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from chat_client import Answer, Progress, RequestFailed, TextChunk, ask, get
from processes import DemoError, Launcher, choose_port
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run the demo; returns the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    os.chdir(ROOT)
    stay = os.environ.get("DEMO_EXIT", "") in ("", "0")
    problems: list[str] = []
    launcher: Launcher | None = None
    try:
        check_engine()
        port = choose_port(os.environ.get("DEMO_PORT") or "8000")
        console.rule("[bold]hotseat[/]: room for one model, two models to serve")
        console.print(
            "The models [bold]chat[/] and [bold]coder[/] each need 0.6 of a budget of 0.9: only one fits.\n"
            "Both are the same small model under two names: SmolLM2-135M on llama.cpp, on the CPU.\n"
        )
        launcher = Launcher(Path("demo/hotseat.yaml"), port, Path(".demo/hotseat.log"))
        launcher.wait_until_up()
        problems += run_scenario(port, launcher)
        if stay and not problems:
            print_next_steps(port, launcher)
            status = launcher.process.wait()
            problems.append(f"hotseat exited unexpectedly with status {status}:\n{launcher.tail()}")
    except DemoError as failure:
        problems.append(str(failure))
    except (RequestFailed, OSError) as error:
        problems.append(f"{type(error).__name__}: {error}\n{launcher.tail() if launcher else ''}")
    except KeyboardInterrupt:
        console.print()
        if not stay:
            problems.append("interrupted")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        if launcher is not None:
            began = time.monotonic()
            problems += launcher.stop()
            if not launcher.alive():
                console.print(f"stopped in {time.monotonic() - began:.1f} s; no process is left")
    for problem in problems:
        console.print(f"[bold red]problem:[/] {escape(problem)}")
    return 1 if problems else 0


def check_engine() -> None:
    """Check that the engine's library can be loaded. Raises ``DemoError``."""
    try:
        import_module("xllamacpp")
    except ImportError as error:
        raise DemoError(
            f"the demo's engine cannot be loaded: {error}\n"
            "Install GCC's run-time libraries (Debian and Ubuntu: apt install libgomp1 libstdc++6)."
        ) from None


def run_scenario(port: int, launcher: Launcher) -> list[str]:
    """Send three requests and print the table; returns what went wrong, in words."""
    results = [
        (
            "chat, cold",
            *send_and_show(port, "chat", "What is a GPU? Answer in one sentence.", "it is stopped"),
        ),
        (
            "chat, warm",
            *send_and_show(port, "chat", "Why do people like games? Answer briefly.", "it is ready"),
        ),
        (
            "coder, swap",
            *send_and_show(
                port, "coder", "Write a Python function that adds two numbers.", "chat must stop first"
            ),
        ),
    ]
    stats = {name: model_stats(port, name) for name in ("chat", "coder")}
    table = Table(title="durations", title_justify="left")
    for heading in ("request", "server start", "first token", "full response", "tokens/s"):
        table.add_column(heading, justify="left" if heading == "request" else "right")
    for name, answer, start_s in results:
        pace = answer.tokens_per_s
        table.add_row(
            name,
            f"{start_s:.2f} s" if start_s is not None else "-",
            f"{answer.first_s:.2f} s",
            f"{answer.total_s:.2f} s",
            f"{pace:.0f}" if pace else "-",
        )
    console.print(table)
    return [
        *(
            f"{name} was started {stats[name]['starts']} times instead of once"
            for name in stats
            if stats[name]["starts"] != 1
        ),
        *(
            [f"chat is {stats['chat']['state']} instead of stopped"]
            if stats["chat"]["state"] != "stopped"
            else []
        ),
        *(
            [f"coder is {stats['coder']['state']} instead of ready"]
            if stats["coder"]["state"] != "ready"
            else []
        ),
        *(
            [f"{len(launcher.engines())} model servers are running instead of one"]
            if len(launcher.engines()) != 1
            else []
        ),
    ]


def send_and_show(port: int, model: str, prompt: str, why: str) -> tuple[Answer, float | None]:
    """Send a request and show it live; returns the response, and the start time in s if there was a start."""
    console.print(f"[bold]{model}[/] ({why}): [italic]{escape(prompt)}[/]")
    starts = model_stats(port, model)["starts"]
    answer: Answer | None = None
    progress = ProgressLine(model)
    with progress:
        for event in events_of(port, model, prompt):
            if isinstance(event, Answer):
                answer = event
            elif isinstance(event, TextChunk):
                progress.end()
                console.print(escape(event.text), end="", style="cyan")
            else:
                progress.show(event.text if event else None, model_stats(port, model))
    assert answer is not None  # ask() yields it last, or raises
    console.print("\n")
    after = model_stats(port, model)
    return answer, after["spin_up_s"][-1] if after["starts"] > starts else None


def events_of(port: int, model: str, prompt: str) -> Iterator[Progress | TextChunk | Answer | None]:
    """Yield the events of ``ask``, and ``None`` for every 0.1 s without one."""
    events: queue.SimpleQueue[Progress | TextChunk | Answer | Exception] = queue.SimpleQueue()

    def listen() -> None:
        try:
            for event in ask(port, model, prompt):
                events.put(event)
        except Exception as error:
            events.put(error)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        try:
            event = events.get(timeout=0.1)
        except queue.Empty:
            yield None
            continue
        if isinstance(event, Exception):
            raise event
        yield event
        if isinstance(event, Answer):
            return


class ProgressLine:
    """Progress of a start: one line, rewritten in place, on a terminal; otherwise hotseat's comments."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._began = time.monotonic()
        self._live = (
            Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        )

    def __enter__(self) -> ProgressLine:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def show(self, comment: str | None, stats: dict[str, Any]) -> None:
        """Show the state, the phase, the elapsed and the expected remaining seconds."""
        if self._live is None:
            if comment:
                console.print(f"  {escape(comment)}")
            return
        words = [f"{self._model} {stats['state']}"]
        if stats["phase"] and stats["phase"] != stats["state"]:
            words.append(stats["phase"])
        words.append(f"{time.monotonic() - self._began:.1f} s")
        if stats["eta_s"]:
            words.append(f"about {stats['eta_s']:.0f} s left")
        self._live.update(f"  [yellow]{escape(' · '.join(words))}[/]", refresh=True)

    def end(self) -> None:
        """Remove the line."""
        if self._live:
            self._live.stop()
            self._live = None


def model_stats(port: int, model: str) -> dict[str, Any]:
    """Fetch one model's entry in ``/stats``."""
    entry: dict[str, Any] = get(port, "/stats")["models"][model]
    return entry


def print_next_steps(port: int, launcher: Launcher) -> None:
    """Print commands to try."""
    base = f"http://127.0.0.1:{port}"
    console.print(
        f"""hotseat stays up on [bold]{base}[/]. In another terminal, try

  curl {base}/v1/models
  curl -N {base}/chat/v1/chat/completions -H 'Content-Type: application/json' \\
       -d '{{"messages": [{{"role": "user", "content": "Hello!"}}], "stream": true}}'
  curl {base}/stats
  curl {base}/healthz

Status: {base}/healthz and {base}/stats · log: {launcher.log} · configuration: demo/hotseat.yaml
[bold]Ctrl-C[/] stops everything.""",
        soft_wrap=True,
        markup=True,
    )


if __name__ == "__main__":
    sys.exit(main())
