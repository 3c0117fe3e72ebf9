"""The debug capture: one model's requests and responses, written to a file while an admin wants it.

Nothing is captured unless an admin has ordered it, for one model, for a bounded time and size; a restart
ends it. While it is on, the log and ``/routes`` say so. ``captured_forward`` says what is recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import structlog

MAX_BYTES = 64 * 1024 * 1024
"""Of one capture's file, and of what is held in memory for it."""
MAX_BYTES_EACH = 1024 * 1024
"""Of one request's body, and of one response's."""

_log = structlog.get_logger("hotseat.capture")


class Recording(Protocol):
    """A request under way that is being captured."""

    @property
    def held(self) -> int:
        """Bytes that it holds in memory for the capture."""

    def line(self, time: str) -> bytes:
        """The record as a line of JSON; ``time`` is when it was made."""


class Captures:
    """The captures of all models."""

    def __init__(self, folder: Path, wall_clock: Callable[[], float]) -> None:
        """Files go into ``folder``, created when it is needed; ``wall_clock()`` is the time of day,
        in seconds since 1970."""
        self._folder, self._wall_clock = folder, wall_clock
        self.on: dict[str, Capture] = {}
        """By model; nearly always empty, which is all that the data path looks at."""

    def start(self, model: str, seconds: float) -> dict[str, Any]:
        """Capture for so many seconds, into a new file that replaces the model's last one; return its status.

        Where a capture is on already, only its end moves. Raises ``OSError`` if the file cannot be created.
        """
        capture = self.on.get(model)
        if capture is None:
            capture = self.on[model] = Capture(model, self._open(model), self._wall_clock, self._on_end)
        capture.extend(self._wall_clock() + seconds, seconds)
        _log.warning(
            "CAPTURE ON: prompts and answers are written to a file",
            model=model,
            file=str(capture.file),
            seconds=seconds,
        )
        return capture.told()

    def stop(self, model: str, why: str = "an admin stopped it") -> dict[str, Any] | None:
        """End a model's capture and return its last status, or ``None`` where there was none."""
        capture = self.on.get(model)
        if capture is None:
            return None
        capture.end(why)
        return capture.told()

    def told(self) -> dict[str, dict[str, Any]]:
        """The captures that are on, by model: ``file``, ``until`` (UTC), ``requests``, ``bytes``."""
        return {model: capture.told() for model, capture in self.on.items()}

    def keep(self, models: Iterable[str]) -> None:
        """End the captures of all other models: they are no longer configured."""
        for model in self.on.keys() - set(models):
            self.stop(model, "the model is no longer configured")

    def close(self) -> None:
        """End all captures."""
        for model in list(self.on):
            self.stop(model, "hotseat shuts down")

    def _open(self, model: str) -> tuple[Path, int]:
        file = self._folder / f"{quote(model, safe='')}.jsonl"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            file.unlink()  # never into a file that somebody else may have open
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return file, os.open(file, flags, 0o600)

    def _on_end(self, capture: Capture, why: str) -> None:
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
    """One model's capture: its file, its bounds, and the requests that are being recorded."""

    def __init__(
        self,
        model: str,
        opened: tuple[Path, int],
        wall_clock: Callable[[], float],
        on_end: Callable[[Capture, str], None],
    ) -> None:
        self.model = model
        self.file, self._descriptor = opened
        self._wall_clock, self._on_end = wall_clock, on_end
        self.requests = self.written = 0
        self.held = 0
        """Bytes of requests under way that are held in memory."""
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._recordings: set[Recording] = set()
        self._ended = False

    def extend(self, at: float, seconds: float) -> None:
        """Let the capture end at this time of day, which is so many seconds from now."""
        self._until = at
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end, "its time is up")

    def told(self) -> dict[str, Any]:
        """The status, as ``/routes`` and the admin API show it."""
        return {
            "file": str(self.file),
            "until": _iso(self._until),
            "requests": self.requests,
            "bytes": self.written,
        }

    def add(self, recording: Recording) -> None:
        """Record a request that begins."""
        self._recordings.add(recording)

    def take(self, data: bytes, taken: int) -> bytes:
        """As much of ``data`` as there is room for; ``taken`` bytes of the same text are held already."""
        if self._ended:
            return b""
        kept = data[: max(0, min(MAX_BYTES_EACH - taken, MAX_BYTES - self.written - self.held))]
        self.held += len(kept)
        return kept

    def finish(self, recording: Recording) -> None:
        """Write a request that has ended, unless the capture's end has written it already."""
        if recording in self._recordings:
            self._write(recording)

    def _write(self, recording: Recording) -> None:
        self._recordings.discard(recording)
        self.held -= recording.held
        line = recording.line(_iso(self._wall_clock()))
        if self.written + len(line) > MAX_BYTES:
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
        """Write what has come so far of requests under way, and close the file. May be repeated."""
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        for recording in list(self._recordings):
            self._write(recording)
        os.close(self._descriptor)
        self._on_end(self, why)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _iso(at: float) -> str:
    text = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
