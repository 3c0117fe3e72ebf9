"""What somebody at a terminal sees: live tokens, no stale reasons, what still loads, colours, plain text."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fakes.admin_api import model_status, stats
from fakes.hotseat import Hotseat
from hotseat.access_lines import for_people
from hotseat.admin.schema import StatsResponse
from hotseat.commands import top_view
from hotseat.commands.top_view import TokenRates

CLEAN = ("HOTSEAT_", "VLLM_", "ADMIN_", "LISTEN", "NO_COLOR", "PYTHONIOENCODING", "LC_", "LANG", "COMPOSE_")


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(CLEAN)} | more


def rate(*samples: tuple[str, int, int]) -> list[float]:
    """The rates of one model, a second apart: state, tokens of ended answers, tokens under way."""
    import msgspec

    rates, found = TokenRates(), []
    for second, (state, finished, under_way) in enumerate(samples):
        status = model_status(state, tokens_out=finished, tokens_under_way=under_way)
        shown = msgspec.convert(stats({"m": status}), StatsResponse)
        found.append(rates.add(shown.models, float(second))["m"])
    return found


def test_tokens_per_second_are_shown_while_a_stream_runs() -> None:
    assert rate(("ready", 0, 0), ("ready", 0, 40), ("ready", 0, 80)) == [0.0, 40.0, 40.0]


def test_the_end_of_a_stream_corrects_the_estimate_and_is_no_restart() -> None:
    assert rate(("ready", 0, 0), ("ready", 0, 50), ("ready", 100, 0)) == [0.0, 50.0, 50.0]
    assert rate(("ready", 0, 0), ("ready", 0, 50), ("ready", 40, 0))[-1] == 20.0


def test_a_stopped_model_has_no_tokens_per_second() -> None:
    import datetime

    import msgspec

    samples = [("ready", 0, 0), ("ready", 100, 0), ("stopped", 100, 0), ("stopped", 100, 0)]
    assert rate(*samples)[-1] == 0.0
    shown = msgspec.convert(stats({"m": model_status("stopped", tokens_out=5)}), StatsResponse)
    row = top_view.rows(shown.models, {"m": 3.0}, datetime.datetime.now(datetime.UTC))[0]
    assert row[top_view.HEAD.index("TOK/S")] == "-"
    assert "0.0 tokens/s" in top_view.total(shown.models, {"m": 3.0})


def test_a_running_stream_counts_in_stats_of_a_real_launcher(tmp_path: Path) -> None:
    hotseat = Hotseat(tmp_path, {"chat": ["--token-interval-s", "0.02", "--tokens", "100"]}).start()
    try:
        done = threading.Event()

        def ask() -> None:
            hotseat.ask("chat", stream=True, max_tokens=200)
            done.set()

        threading.Thread(target=ask, daemon=True).start()
        running = hotseat.until("chat", lambda now: now["tokens_under_way"] > 0)
        assert running["tokens_out"] == 0
        assert done.wait(60)
        ended = hotseat.until("chat", lambda now: now["in_flight"] == 0)
        assert ended["tokens_under_way"] == 0
    finally:
        hotseat.stop()


def test_a_start_that_takes_longer_than_the_command_waits_is_said_to_go_on(tmp_path: Path) -> None:
    hotseat = Hotseat(tmp_path, {"chat": ["--start-s", "60"]}).start()
    try:
        done = hotseat.command("start", "chat", "--wait", "--timeout", "1")
        assert done.returncode == 1
        assert "chat is still starting" in done.stderr
        assert "The launcher carries on" in done.stderr or "the launcher carries on" in done.stderr
        assert hotseat.model("chat")["state"] == "starting"
    finally:
        hotseat.stop()


def test_a_stale_reason_goes_when_a_later_run_is_ready(tmp_path: Path) -> None:
    hotseat = Hotseat(tmp_path, {"chat": []}).start()
    try:
        pid = hotseat.ask("chat").pid
        os.kill(pid, 9)
        hotseat.until("chat", lambda now: now["state"] == "stopped" and now["last_error"] is not None)
        assert hotseat.ask("chat").status == 200
        assert hotseat.model("chat")["last_error"] is None
        assert "killed" not in hotseat.command("status").stdout
    finally:
        hotseat.stop()


def test_aliases_are_names_for_every_command(tmp_path: Path) -> None:
    hotseat = Hotseat(tmp_path, {"chat": {"aliases": ["gpt-4o"]}}).start()
    try:
        for words in (
            ["start", "gpt-4o", "--wait"],
            ["logs", "gpt-4o"],
            ["check", "gpt-4o", "--within", "30"],
            ["capture", "gpt-4o", "--stop"],
            ["switch", "gpt-4o", "--wait"],
            ["stop", "gpt-4o", "--wait"],
        ):
            done = hotseat.command(*words)
            assert done.returncode == 0, (words, done.stderr, done.stdout)
    finally:
        hotseat.stop()


RECORD = {
    "time": "2026-11-28T12:00:00.123Z",
    "level": "info",
    "event": "request",
    "method": "POST",
    "path": "/v1/chat/completions",
    "route": "chat",
    "status": 200,
    "stream": True,
    "tokens_in": 12,
    "tokens_out": 34,
    "waited_s": 2.5,
    "first_byte_s": 2.75,
    "duration_s": 3.5,
}


def test_access_lines_are_for_people_on_a_terminal() -> None:
    line = for_people(json.dumps(RECORD).encode(), colours=False).decode()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d 200 POST /v1/chat/completions chat: 3\.50 s, waited 2\.5 s, first byte 2\.75 s, "
        r"12\+34 tokens\n",
        line,
    )
    failed = {**RECORD, "status": 502, "code": "upstream_failed", "stream": False, "tokens_out": None}
    shown = for_people(json.dumps(failed).encode(), colours=True).decode()
    assert "\x1b[31m502\x1b[0m" in shown
    assert "upstream_failed" in shown
    assert for_people(b"not json\n", colours=True) == b"not json\n"
    hostile = {**RECORD, "path": "/v1/\x1b[2J\n"}
    assert "\x1b[2J\n" not in for_people(json.dumps(hostile).encode(), colours=False).decode()


def at_a_terminal(words: list[str], folder: Path, env: dict[str, str], until: str | None = None) -> str:
    """What a command writes on a terminal; ``until``: end it when this was written."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "hotseat", *words],
        stdin=child,
        stdout=child,
        stderr=child,
        cwd=folder,
        env=env,
    )
    os.close(child)
    seen = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([parent], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(parent, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
        if until is not None and until.encode() in seen:
            process.terminate()
            until = None
    process.wait(30)
    os.close(parent)
    return seen.decode("utf-8", "replace")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    models = "models: {m: {command: 'no-such-program {port}'}}\n"
    (tmp_path / "hotseat.yaml").write_text(f"state_dir: {tmp_path}/s\nlisten: 127.0.0.1:0\n{models}")
    return tmp_path


def test_doctor_is_coloured_on_a_terminal_and_plain_with_no_color(plain: Path) -> None:
    env = environment(TERM="xterm", LC_ALL="C.UTF-8")
    assert "\x1b[31mERROR" in at_a_terminal(["doctor"], plain, env)
    assert "\x1b[" not in at_a_terminal(["doctor"], plain, {**env, "NO_COLOR": "1"})
    assert "\x1b[" not in at_a_terminal(["doctor"], plain, {**env, "TERM": "dumb"})


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_doctor_on_a_terminal_that_is_not_utf_8(encoding: str, plain: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hotseat", "doctor"],
        capture_output=True,
        cwd=plain,
        env=environment(PYTHONIOENCODING=encoding),
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    text = done.stdout.decode(encoding)
    assert ("→" if encoding == "utf-8" else "->") in text
    assert "program no-such-program not found" in text


@pytest.mark.parametrize("text", ["models: {m: {command: 'run {port}'}}\n", "modles: {}\n"])
def test_doctor_has_no_compose_findings_for_plain_processes(text: str, tmp_path: Path) -> None:
    (tmp_path / "hotseat.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "hotseat", "doctor", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        check=False,
        timeout=60,
    )
    assert "compose" not in done.stdout.lower(), done.stdout


def test_no_help_text_shows_a_marker_of_its_layout() -> None:
    from click.testing import CliRunner

    from hotseat.cli import main
    from hotseat.commands import COMMANDS

    for name in COMMANDS:
        text = CliRunner().invoke(main, [name, "-h"]).output
        assert "\\b" not in text, name
        assert "\b" not in text, name
