"""A small Hugging Face hub on loopback: what ``huggingface_hub`` asks for, and faults by name."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAUSE_MOST_S = 60.0
LARGE = (".safetensors", ".bin")
"""Endings of the files that are kept by their SHA-256, as Git LFS does."""


class Hub:
    """Models by name, each a mapping of files."""

    def __init__(self, models: Mapping[str, Mapping[str, bytes]], host: str = "127.0.0.1") -> None:
        self.models = models
        self.asked: list[tuple[str, str, str | None]] = []
        """Method, path and ``Range`` of every request."""
        self.gated: dict[str, str] = {}
        """Models that want this token."""
        self.cuts: dict[str, int] = {}
        """Files whose next download breaks off after so many bytes."""
        self.pauses: dict[str, tuple[int, threading.Event]] = {}
        """Files whose download stands still after so many bytes, until the event is set."""
        self.damaged: set[str] = set()
        """Files that come with other bytes of the same number."""
        self.size_told: dict[str, int] = {}
        """Files that are said to be of another size."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with suppress(BrokenPipeError, ConnectionResetError):  # whoever downloads may be stopped
                    hub.answer(self)

            do_HEAD = do_GET  # noqa: N815 - the base's name

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                return

        self.server = ThreadingHTTPServer((host, 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://{host}:{self.server.server_port}"

    def downloads(self, name: str) -> list[str | None]:
        """The ``Range`` of each download of a file."""
        return [kept for method, path, kept in self.asked if method == "GET" and path.endswith(f"/{name}")]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One request."""
        path = unquote(urlsplit(request.path).path)
        self.asked.append((request.command, path, request.headers.get("Range")))
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        repository = "/".join(parts[2:4] if api else parts[:2])
        rest = parts[4:] if api else parts[2:]
        files = self.models.get(repository)
        if files is None:
            return self._error(request, 404 if api else 401, "RepoNotFound")
        if rest[1] not in ("main", "v1", COMMIT):
            return self._error(request, 404, "RevisionNotFound")
        if api and rest[0] == "revision":
            return self._json(request, {"id": repository, "sha": COMMIT, "siblings": []})
        if api:
            return self._json(request, [self._entry(name, data) for name, data in files.items()])
        token = self.gated.get(repository)
        if token is not None and request.headers.get("Authorization") != f"Bearer {token}":
            return self._error(request, 401, "GatedRepo")
        return self._file(request, "/".join(rest[2:]), files["/".join(rest[2:])])

    def _entry(self, name: str, data: bytes) -> dict[str, Any]:
        size = self.size_told.get(name, len(data))
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": name, "size": size, "oid": blob}
        if name.endswith(LARGE):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": size, "pointerSize": 130}
        return entry

    def _file(self, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        entry = self._entry(name, data)
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        sent = bytes(byte ^ 1 for byte in data) if name in self.damaged else data
        start = 0
        if kept := request.headers.get("Range"):
            start = int(kept.removeprefix("bytes=").partition("-")[0])
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        length = self.size_told.get(name, len(data)) if request.command == "HEAD" else len(data) - start
        for field, value in (
            ("Content-Length", str(length)),
            ("ETag", f'"{etag}"'),
            ("X-Repo-Commit", COMMIT),
            ("Accept-Ranges", "bytes"),
        ):
            request.send_header(field, value)
        request.end_headers()
        if request.command == "HEAD":
            return
        if pause := self.pauses.get(name):
            after = max(start, pause[0])
            request.wfile.write(sent[start:after])
            request.wfile.flush()
            pause[1].wait(PAUSE_MOST_S)
            start = after
        cut = self.cuts.pop(name, None)
        request.wfile.write(sent[start:] if cut is None else sent[start:cut])
        if cut is not None:
            request.close_connection = True

    def _json(self, request: BaseHTTPRequestHandler, body: Any) -> None:
        data = json.dumps(body).encode()
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _error(self, request: BaseHTTPRequestHandler, status: int, code: str) -> None:
        request.send_response(status)
        request.send_header("X-Error-Code", code)
        request.send_header("Content-Length", "0")
        request.end_headers()


@contextmanager
def serving(models: Mapping[str, Mapping[str, bytes]], host: str = "127.0.0.1") -> Iterator[Hub]:
    """A hub that answers."""
    hub = Hub(models, host)
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        hub.server.server_close()
        thread.join()
