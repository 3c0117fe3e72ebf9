"""hotseat told to end: what is still answered meanwhile, and that the end comes whatever clients do."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

from fakes.hotseat import Hotseat


def stream(hotseat: Hotseat) -> socket.socket:
    """A client that has the first bytes of an answer without an end, and reads no more."""
    body = json.dumps({"model": "chat", "messages": [], "stream": True}).encode()
    sock = socket.create_connection(("127.0.0.1", hotseat.port), timeout=hotseat.limit_s)
    sock.sendall(
        b"POST /chat/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    told = b""
    while b"token0" not in told:
        told += sock.recv(4096)
    return sock


ENDING = "stopping all models; waiting up to 3600 s for 1 answer, Ctrl-C again to stop now"
ENDLESS = ["--tokens", "1000000", "--token-interval-s", "0.05"]


def test_while_answers_end_new_requests_and_a_reload_are_refused(tmp_path: Path) -> None:
    hotseat = Hotseat(tmp_path, {"chat": {"options": ENDLESS}}, drain_timeout="1h")
    try:
        hotseat.start()
        running = stream(hotseat)
        assert hotseat.process is not None
        hotseat.process.send_signal(signal.SIGTERM)
        hotseat.told(lambda line: line["event"] == ENDING)
        hotseat.until("chat", lambda model: model["state"] == "draining")
        reload = hotseat.send("POST", "/admin/reload", {})
        assert reload.status == 400
        assert reload.json["problems"] == ["hotseat is shutting down"]
        refused = hotseat.ask("chat", messages=[])
        assert (refused.status, refused.error["code"]) == (503, "shutting_down")
        assert hotseat.send("GET", "/health").status == 200
        hotseat.process.send_signal(signal.SIGHUP)
        running.close()  # the last answer's client goes
        assert hotseat.exit_status() == 0
        assert not [line for line in hotseat.lines if line["event"].startswith("reload")]
    finally:
        hotseat.sweep()


def test_the_end_comes_whatever_clients_do(tmp_path: Path) -> None:
    options = [*ENDLESS, "--ignores-stop"]
    models = {"chat": {"options": options, "stop_grace": "200ms", "drain_timeout": "200ms"}}
    hotseat = Hotseat(tmp_path, models)
    try:
        hotseat.start()
        clients = [stream(hotseat)]
        for half in (
            b"GET /he",
            b"POST /chat/v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
            b"",
        ):
            sock = socket.create_connection(("127.0.0.1", hotseat.port), timeout=hotseat.limit_s)
            sock.sendall(half)
            clients.append(sock)
        for path in (b"/events", b"/logs/chat?follow=1"):
            sock = socket.create_connection(("127.0.0.1", hotseat.port), timeout=hotseat.limit_s)
            sock.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
            assert sock.recv(12) == b"HTTP/1.1 200"
            clients.append(sock)
        assert hotseat.stop() == 0  # within the time that a test has
        assert hotseat.engines() == []
        for sock in clients:
            sock.close()
    finally:
        hotseat.sweep()
