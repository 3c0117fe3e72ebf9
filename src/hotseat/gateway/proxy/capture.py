"""The debug capture: what one model is asked and answers, written to a file while an admin wants it.

Nothing is captured unless it was ordered, for one model, for a bounded time and size; a restart ends
it. Of a request its body is written as the model's server got it, of the answer what that server sent;
no header is, and credentials inside the texts become ``***``. While it is on, the log and ``/routes``
say so.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import datetime
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from hotseat import logs
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.proxy.forward import Forward, ForwardServices, MeteredForward, Owner
from hotseat.gateway.proxy.prepare import UpstreamRequest
from hotseat.secret_names import is_secret_name

MOST_BYTES = 64 * 1024 * 1024
"""Of one capture's file, and of what is held in memory for it."""
MOST_BYTES_EACH = 1024 * 1024
"""Of one request's body, and of one answer."""
_SHORTEST = 4

_log = structlog.get_logger("hotseat.capture")
_encode = msgspec.json.Encoder().encode


class Captures:
    """The captures that are on, by model."""

    def __init__(self, folder: Path, wall_clock: Callable[[], float]) -> None:
        """Files go into ``folder``, which is made when it is needed; ``wall_clock()`` is the time of day, in
        seconds since 1970."""
        self._folder, self._wall_clock = folder, wall_clock
        self.on: dict[str, Capture] = {}
        """Empty nearly always: that is all that the data path looks at."""

    def start(self, model: str, seconds: float) -> dict[str, Any]:
        """Capture from now on, into a new file in place of the model's last one; what ``told`` says of it.

        Where it is on already it goes on into its file, until so many seconds from now. Raises ``OSError``.
        """
        capture = self.on.get(model)
        if capture is None:
            capture = self.on[model] = Capture(model, self._open(model), self._wall_clock, self._ended)
        capture.until(self._wall_clock() + seconds, seconds)
        _log.warning(
            "CAPTURE ON: prompts and answers are written to a file",
            model=model,
            file=str(capture.file),
            seconds=seconds,
        )
        return capture.told()

    def stop(self, model: str, why: str = "it was ordered") -> dict[str, Any] | None:
        """End it; what came of it, or ``None`` where there was none."""
        capture = self.on.get(model)
        if capture is None:
            return None
        capture.end(why)
        return capture.told()

    def told(self) -> dict[str, dict[str, Any]]:
        """What is captured now, by model: ``file``, ``until`` (UTC), ``requests``, ``bytes``."""
        return {model: capture.told() for model, capture in self.on.items()}

    def keep(self, models: Iterable[str]) -> None:
        """End those of models that are configured no more."""
        for model in self.on.keys() - set(models):
            self.stop(model, "the model is gone")

    def close(self) -> None:
        """End all."""
        for model in list(self.on):
            self.stop(model, "hotseat ends")

    def _open(self, model: str) -> tuple[Path, int]:
        file = self._folder / f"{model}.jsonl"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            file.unlink()  # never into a file that somebody else may have open
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return file, os.open(file, flags, 0o600)

    def _ended(self, capture: Capture, why: str) -> None:
        self.on.pop(capture.model, None)
        _log.warning(
            "CAPTURE OFF",
            model=capture.model,
            why=why,
            file=str(capture.file),
            requests=capture.requests,
            bytes=capture.written,
        )


class Capture:
    """One model's, from its order to its end."""

    def __init__(
        self,
        model: str,
        opened: tuple[Path, int],
        wall_clock: Callable[[], float],
        ended: Callable[[Capture, str], None],
    ) -> None:
        self.model = model
        self.file, self._descriptor = opened
        self._wall_clock, self._ended = wall_clock, ended
        self.requests = self.written = 0
        self._held = 0
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[Forward] = set()
        self._over = False

    def until(self, at: float, seconds: float) -> None:
        """It ends at this time of day, so many seconds from now."""
        self._until = at
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end, "its time is over")

    def told(self) -> dict[str, Any]:
        """For ``/routes`` and orders."""
        return {
            "file": str(self.file),
            "until": _iso(self._until),
            "requests": self.requests,
            "bytes": self.written,
        }

    def follow(
        self,
        owner: Owner,
        client: RequestCycle,
        asked: UpstreamRequest,
        means: ForwardServices,
        record_id: str,
    ) -> CapturedForward:
        """An exchange that is captured."""
        captured = CapturedForward(owner, client, asked, means)
        captured.begin_capture(self, record_id)
        self._running.add(captured)
        return captured

    def take(self, data: bytes, had: int) -> bytes:
        """What there is room for of a text of which so much has been taken."""
        if self._over:
            return b""
        taken = data[: max(0, min(MOST_BYTES_EACH - had, MOST_BYTES - self.written - self._held))]
        self._held += len(taken)
        return taken

    def finished(self, exchange: Forward) -> None:
        """This exchange has ended; one that the capture's end came before is written already."""
        if exchange in self._running:
            assert isinstance(exchange, CapturedForward)
            self._write(exchange)

    def _write(self, captured: CapturedForward) -> None:
        self._running.discard(captured)
        self._held -= captured.held
        line = captured.line(_iso(self._wall_clock()))
        if self.written + len(line) > MOST_BYTES:
            self.end("its file is full")
            return
        try:
            _write_all(self._descriptor, line)
        except OSError as error:
            self.end(f"its file cannot be written: {error.strerror}")
            return
        self.requests += 1
        self.written += len(line)

    def end(self, why: str) -> None:
        """Write what has come so far of requests under way, and close the file. Repeats are harmless."""
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        for captured in list(self._running):
            assert isinstance(captured, CapturedForward)
            self._write(captured)
        os.close(self._descriptor)
        self._ended(self, why)


class CapturedForward(MeteredForward, eq=False):
    """An exchange whose request and answer are kept, within bounds, until it has ended."""

    _capture: Capture | None = None
    _record_id: str = ""
    _body: bytes = b""
    _body_bytes: int = 0
    _answer: bytearray = msgspec.field(default_factory=bytearray)
    _answer_bytes: int = 0
    _sent: list[str] = msgspec.field(default_factory=list)

    def begin_capture(self, capture: Capture, record_id: str) -> None:
        """Keep what is asked and answered for this capture."""
        content = self._asked.content
        self._capture = capture
        self._record_id = record_id
        self._body = capture.take(content, 0)
        self._body_bytes = len(content)
        self._sent = _credentials(self._client)

    @property
    def held(self) -> int:
        """Bytes of both texts."""
        return len(self._body) + len(self._answer)

    def on_data(self, data: bytes) -> None:
        assert self._capture is not None
        self._answer_bytes += len(data)
        self._answer += self._capture.take(data, len(self._answer))
        super().on_data(data)

    def line(self, at: str) -> bytes:
        """The record as a line of JSON; ``whole`` says that the client got the whole answer."""
        asked = self._asked
        record = {
            "time": at,
            "id": self._record_id,
            "key": asked.key,
            "route": asked.route.name,
            "method": asked.method.decode("latin-1"),
            "target": asked.target.decode("latin-1"),
            "status": self.upstream_status,
            "whole": self.failure is None and self._client.response_complete,
            "code": self.code,
            "failure": self.failure,
            "request_bytes": self._body_bytes,
            "request": self._text(self._body),
            "answer_bytes": self._answer_bytes,
            "answer": self._text(bytes(self._answer)),
        }
        return logs.redact(_encode(record).decode()).encode() + b"\n"

    def _text(self, data: bytes) -> str:
        text = data.decode("utf-8", "replace")
        for secret in self._sent:
            text = text.replace(secret, logs.HIDDEN)
        return text


def _credentials(client: RequestCycle) -> list[str]:
    """What the client sent to prove itself by, longest first: it may stand in its prompt, too."""
    found = set()
    for name, value in client.headers:
        if is_secret_name(name.decode("latin-1")):
            text = value.decode("latin-1")
            word = text.rpartition(" ")[2]
            found |= {text, word}
            if text[:6].lower() == "basic ":
                with contextlib.suppress(binascii.Error):
                    found.add(base64.b64decode(word).decode("utf-8", "replace").partition(":")[2])
    return sorted((one for one in found if len(one) >= _SHORTEST), key=len, reverse=True)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _iso(at: float) -> str:
    text = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
