"""The demo: the main job of hotseat on the terminal, with a real engine. Run by ``make demo``.

``DEMO_EXIT=1`` ends it by itself, with status 1 where anything was not as it should be;
``DEMO_PORT`` chooses the port (8000; 0 is any free one). Without a terminal it writes plain lines.
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

from asking import Answer, NoAnswer, Piece, Progress, ask, get
from processes import Launcher, Trouble, choose_port
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run the demo; the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    os.chdir(ROOT)
    stay = os.environ.get("DEMO_EXIT", "") in ("", "0")
    problems: list[str] = []
    launcher: Launcher | None = None
    try:
        check_engine()
        port = choose_port(os.environ.get("DEMO_PORT") or "8000")
        console.rule("[bold]hotseat[/]: one GPU's worth of room, two models")
        console.print(
            "Two models, [bold]chat[/] and [bold]coder[/], each claim 0.6 of a budget of 0.9: one fits.\n"
            "Both are the same small model (SmolLM2-135M on llama.cpp, on the CPU) under two names.\n"
        )
        launcher = Launcher(Path("demo/hotseat.yaml"), port, Path(".demo/hotseat.log"))
        launcher.wait_until_up()
        problems += story(port, launcher)
        if stay and not problems:
            whats_next(port, launcher)
            status = launcher.process.wait()
            problems.append(f"hotseat ended by itself with status {status}:\n{launcher.tail()}")
    except Trouble as trouble:
        problems.append(str(trouble))
    except (NoAnswer, OSError) as error:
        problems.append(f"{type(error).__name__}: {error}\n{launcher.tail() if launcher else ''}")
    except KeyboardInterrupt:
        console.print()
        if not stay:
            problems.append("interrupted")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave anything behind
        if launcher is not None:
            began = time.monotonic()
            problems += launcher.stop()
            if not launcher.alive():
                console.print(f"stopped in {time.monotonic() - began:.1f} s; no process is left")
    for problem in problems:
        console.print(f"[bold red]problem:[/] {escape(problem)}")
    return 1 if problems else 0


def check_engine() -> None:
    """Raise ``Trouble`` where the engine's library cannot be loaded."""
    try:
        import_module("xllamacpp")
    except ImportError as error:
        raise Trouble(
            f"the demo's engine cannot be loaded: {error}\n"
            "It needs the run-time libraries of GCC (Debian and Ubuntu: apt install libgomp1 libstdc++6)."
        ) from None


def story(port: int, launcher: Launcher) -> list[str]:
    """Three requests and the table; what was not as it should be, in words."""
    told = [
        ("chat, cold", *tell(port, "chat", "What is a GPU? Answer in one sentence.", "it is stopped")),
        ("chat, warm", *tell(port, "chat", "Why do people like games? Answer briefly.", "it is ready")),
        (
            "coder, swap",
            *tell(port, "coder", "Write a Python function that adds two numbers.", "chat must go"),
        ),
    ]
    stats = {name: model_stats(port, name) for name in ("chat", "coder")}
    table = Table(title="what it took", title_justify="left")
    for heading in ("request", "server start", "first token", "whole answer", "tokens/s"):
        table.add_column(heading, justify="left" if heading == "request" else "right")
    for name, answer, start_s in told:
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
            f"{name} was started {stats[name]['starts']} times, not once"
            for name in stats
            if stats[name]["starts"] != 1
        ),
        *([f"chat is {stats['chat']['state']}, not stopped"] if stats["chat"]["state"] != "stopped" else []),
        *([f"coder is {stats['coder']['state']}, not ready"] if stats["coder"]["state"] != "ready" else []),
        *([f"{len(launcher.engines())} model servers run, not one"] if len(launcher.engines()) != 1 else []),
    ]


def tell(port: int, model: str, prompt: str, why: str) -> tuple[Answer, float | None]:
    """Ask and show it live; the answer, and how long the server took to start if this started one."""
    console.print(f"[bold]{model}[/] ({why}): [italic]{escape(prompt)}[/]")
    starts = model_stats(port, model)["starts"]
    answer: Answer | None = None
    progress = ProgressLine(model)
    with progress:
        for event in heard(port, model, prompt):
            if isinstance(event, Answer):
                answer = event
            elif isinstance(event, Piece):
                progress.end()
                console.print(escape(event.text), end="", style="cyan")
            else:
                progress.show(event.text if event else None, model_stats(port, model))
    assert answer is not None  # ask() yields one last, or raises
    console.print("\n")
    after = model_stats(port, model)
    return answer, after["spin_up_s"][-1] if after["starts"] > starts else None


def heard(port: int, model: str, prompt: str) -> Iterator[Progress | Piece | Answer | None]:
    """What ``ask`` yields, with ``None`` every tenth of a second while it is silent."""
    events: queue.SimpleQueue[Progress | Piece | Answer | Exception] = queue.SimpleQueue()

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
    """How far the start is: a line rewritten in place on a terminal, else hotseat's comments as they come."""

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
        """Show the state, the phase, the seconds and the expected rest."""
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
        """Take the line away."""
        if self._live:
            self._live.stop()
            self._live = None


def model_stats(port: int, model: str) -> dict[str, Any]:
    """One model's entry in ``/stats``."""
    entry: dict[str, Any] = get(port, "/stats")["models"][model]
    return entry


def whats_next(port: int, launcher: Launcher) -> None:
    """Say what to try."""
    base = f"http://127.0.0.1:{port}"
    console.print(
        f"""hotseat stays up on [bold]{base}[/]. In another terminal try

  curl {base}/v1/models
  curl -N {base}/chat/v1/chat/completions -H 'Content-Type: application/json' \\
       -d '{{"messages": [{{"role": "user", "content": "Hello!"}}], "stream": true}}'
  curl {base}/stats
  curl {base}/healthz

status: {base}/healthz and {base}/stats · log: {launcher.log} · configuration: demo/hotseat.yaml
[bold]Ctrl-C[/] stops everything.""",
        soft_wrap=True,
        markup=True,
    )


if __name__ == "__main__":
    sys.exit(main())
