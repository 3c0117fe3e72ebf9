"""Ctrl-C or SIGTERM a second time: answers end with an error that clients understand, and servers stop."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from fakes.hotseat import Hotseat

ENDLESS = ["--tokens", "1000000", "--token-interval-s", "0.02", "--ignores-stop"]
NOW = "stopping now: cutting 1 answer; models are killed"
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def send(hotseat: Hotseat, number: signal.Signals) -> None:
    assert hotseat.process is not None
    hotseat.process.send_signal(number)


def stream(hotseat: Hotseat, path: str, body: dict[str, Any]) -> socket.socket:
    """A client that has the first words of an answer without an end."""
    content = json.dumps({"model": "chat", "stream": True, **body}).encode()
    sock = socket.create_connection(("127.0.0.1", hotseat.port), timeout=hotseat.limit_s)
    sock.sendall(
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (path.encode(), len(content), content)
    )
    told = b""
    while b"token0" not in told:
        told += sock.recv(4096)
    return sock


def rest(sock: socket.socket) -> bytes:
    """What is left of an answer, to the end of the connection."""
    told = b""
    while piece := sock.recv(65536):
        told += piece
    return told


def said(hotseat: Hotseat, start: str) -> None:
    hotseat.told(lambda line: line["event"].startswith(start))


@pytest.mark.parametrize("number", SIGNALS)
def test_the_second_signal_cuts_answers_with_an_error_and_kills_the_servers(
    tmp_path: Path, number: signal.Signals
) -> None:
    hotseat = Hotseat(tmp_path, {"chat": {"options": ENDLESS, "stop_grace": "1h"}}, drain_timeout="60s")
    try:
        hotseat.start()
        client = stream(hotseat, "/chat/v1/chat/completions", {"messages": []})
        send(hotseat, number)
        said(hotseat, "stopping all models; waiting up to 60 s for 1 answer, Ctrl-C again to stop now")
        send(hotseat, number)
        said(hotseat, NOW)
        last = rest(client)
        assert b'"error"' in last
        assert b"told to stop at once" in last
        assert hotseat.exit_status() == 0
        assert hotseat.engines() == []
    finally:
        hotseat.sweep()


def test_an_anthropic_client_gets_the_error_event_of_its_own_api(tmp_path: Path) -> None:
    hotseat = Hotseat(tmp_path, {"chat": {"options": ENDLESS}}, drain_timeout="60s")
    try:
        hotseat.start()
        client = stream(hotseat, "/chat/v1/messages", {"messages": [], "max_tokens": 9})
        send(hotseat, signal.SIGINT)
        said(hotseat, "stopping all models; waiting")
        send(hotseat, signal.SIGINT)
        assert b"event: error" in rest(client)
        assert hotseat.exit_status() == 0
        assert hotseat.engines() == []
    finally:
        hotseat.sweep()


def test_models_that_are_to_be_left_run_on_and_only_their_answers_are_cut(tmp_path: Path) -> None:
    hotseat = Hotseat(tmp_path, {"chat": {"options": ENDLESS}}, drain_timeout="60s", on_exit="leave")
    try:
        hotseat.start()
        client = stream(hotseat, "/chat/v1/chat/completions", {"messages": []})
        send(hotseat, signal.SIGTERM)
        said(hotseat, "shutting down; models keep running; waiting up to 60 s for 1 answer, Ctrl-C again")
        send(hotseat, signal.SIGTERM)
        said(hotseat, "stopping now: cutting 1 answer; models keep running")
        assert b"told to stop at once" in rest(client)
        assert hotseat.exit_status() == 0
        assert len(hotseat.engines()) == 1
    finally:
        hotseat.sweep()


@pytest.mark.parametrize("on_exit", ["stop", "leave"])
def test_a_model_that_still_loads_is_killed_too(tmp_path: Path, on_exit: str) -> None:
    models = {"chat": {"options": ["--never-ready", "--ignores-stop"], "stop_grace": "1h"}}
    hotseat = Hotseat(tmp_path, models, on_exit=on_exit)
    try:
        hotseat.start()
        hotseat.command("start", "chat")
        hotseat.moved("chat", "starting")
        send(hotseat, signal.SIGINT)
        hotseat.moved("chat", "stopping")
        send(hotseat, signal.SIGINT)
        assert hotseat.exit_status() == 0
        assert hotseat.engines() == []
    finally:
        hotseat.sweep()


def test_servers_that_ignore_sigterm_are_killed_without_their_grace(tmp_path: Path) -> None:
    """No answer is under way, but the stop itself would take an hour."""
    hotseat = Hotseat(tmp_path, {"chat": {"options": ["--ignores-stop"], "stop_grace": "1h"}})
    try:
        hotseat.start()
        assert hotseat.ask("chat", messages=[]).status == 200
        send(hotseat, signal.SIGTERM)
        hotseat.moved("chat", "stopping")
        send(hotseat, signal.SIGTERM)
        said(hotseat, "stopping now: no answer is under way")
        assert hotseat.exit_status() == 0
        assert hotseat.engines() == []
    finally:
        hotseat.sweep()


def test_both_signals_at_once_during_a_reload_stop_everything(tmp_path: Path) -> None:
    hotseat = Hotseat(tmp_path, {"chat": {"options": ENDLESS, "stop_grace": "1h"}}, drain_timeout="60s")
    try:
        hotseat.start()
        client = stream(hotseat, "/chat/v1/chat/completions", {"messages": []})
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            send(hotseat, number)
        assert b"told to stop at once" in rest(client)
        assert hotseat.exit_status() == 0
        assert hotseat.engines() == []
    finally:
        hotseat.sweep()


def test_a_third_signal_leaves_no_server_behind_either(tmp_path: Path) -> None:
    hotseat = Hotseat(tmp_path, {"chat": {"options": ENDLESS, "stop_grace": "1h"}}, drain_timeout="60s")
    try:
        hotseat.start()
        stream(hotseat, "/chat/v1/chat/completions", {"messages": []})
        for _ in range(3):
            send(hotseat, signal.SIGINT)
            said(hotseat, "stopping all models" if _ == 0 else "stopping now")
        assert hotseat.exit_status() in (0, -signal.SIGINT)
        assert hotseat.engines() == []
    finally:
        hotseat.sweep()
