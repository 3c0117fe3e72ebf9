"""The log: readable text on a terminal, JSON lines otherwise, and without secrets.

Fields with a secret name (``secret_names``) become ``***``. In the finished line, registered secrets and
everything that looks like a credential become ``***`` too, whatever field, object or traceback they came
from. The standard library's ``logging`` (uvicorn and others) goes the same way.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TextIO
from urllib.parse import unquote

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from hotseat.secret_names import can_be_secret, is_secret_name

Form = Literal["auto", "human", "json"]
Level = Literal["debug", "info", "warning", "error"]

HIDDEN = "***"
_BEARER = re.compile(r"\b([Bb]earer\s+|BEARER\s+|[Bb]asic\s+|BASIC\s+)[A-Za-z0-9._~+/=-]{6,}")
_PARAMETER_NAME = re.compile(r"[?&]([^=?&\s\"'\\]{1,64})=")
_PARAMETER_VALUE = re.compile(r"[^&\s\"'\\]*")
_SHORTEST_SECRET = 4
"""In characters: hiding shorter ones would make lines unreadable."""


class _Secrets:
    """The registered secrets, compiled into one regular expression."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._expression: re.Pattern[str] | None = None

    def add(self, values: Iterable[str]) -> None:
        for value in values:
            if len(value) < _SHORTEST_SECRET or not can_be_secret(value):
                continue
            # As it is, as in a Python repr, and either of them within JSON.
            for text in (value, repr(value)[1:-1]):
                self._values |= {
                    text,
                    *(json.dumps(text, ensure_ascii=plain)[1:-1] for plain in (True, False)),
                }
        if self._values:
            longest_first = sorted(self._values, key=len, reverse=True)
            self._expression = re.compile("|".join(map(re.escape, longest_first)))

    def clear(self) -> None:
        self._values.clear()
        self._expression = None

    def redact(self, text: str) -> str:
        if self._expression is not None:
            text = self._expression.sub(HIDDEN, text)
        if _BEARER.search(text):
            text = _BEARER.sub(rf"\1{HIDDEN}", text)
        if "=" in text:
            text = _without_secret_parameters(text)
        return text


def _without_secret_parameters(text: str) -> str:
    """Hide the values of query parameters whose name says that they hold a secret."""
    pieces, end = [], 0
    for name in _PARAMETER_NAME.finditer(text):
        if name.start() >= end and is_secret_name(unquote(name[1])):
            value = _PARAMETER_VALUE.match(text, name.end())
            assert value is not None
            if value[0]:
                pieces += [text[end : name.end()], HIDDEN]
                end = value.end()
    return "".join([*pieces, text[end:]])


class RecentLines:
    """The latest lines of the log in memory, as JSON and without secrets."""

    KEPT = 2000

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=self.KEPT)
        self._count = 0
        """Lines so far; the last one's number."""

    def add(self, line: str) -> None:
        """Keep a line."""
        self._lines.append(line)
        self._count += 1

    def since(self, number: int) -> tuple[int, list[str]]:
        """The number of the last line, and the kept lines after the one with this number."""
        count, lines = self._count, list(self._lines)
        missed = min(count - number, len(lines))
        return count, lines[len(lines) - missed :]


recent = RecentLines()
_secrets = _Secrets()


def hide(*values: str) -> None:
    """Register secrets; no line shows them from now on. Switches such as ``true`` and texts of less than four
    characters are ignored."""
    _secrets.add(values)


def forget() -> None:
    """Forget all registered secrets."""
    _secrets.clear()


def redact(text: str) -> str:
    """Hide registered secrets, and what looks like a credential, in a text."""
    return _secrets.redact(text)


def get(**fields: Any) -> Any:
    """Return a logger with these fields on every line. For frequent lines ``get().bind()`` once is faster."""
    return structlog.get_logger(**fields)


_form: Form = "auto"


def is_for_people(stream: TextIO) -> bool:
    """Return whether lines on this stream are to be text instead of JSON, as ``setup`` was told."""
    try:
        return _form == "human" or (_form == "auto" and stream.isatty())
    except ValueError:  # closed
        return False


def wants_colours(stream: TextIO | _Stream) -> bool:
    """Return whether lines on this stream may have colours: on a terminal, unless ``NO_COLOR`` is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def setup(*, form: Form = "auto", level: Level = "info", stream: TextIO | None = None) -> None:
    """Send the log to ``stream`` (default: standard error), as text or as JSON lines.

    ``auto`` chooses text for a terminal. Can be called again; the latest call counts.
    """
    global _form
    _form = form
    out = _Stream(sys.stderr if stream is None else stream)
    human = form == "human" or (form == "auto" and out.isatty())
    number = getattr(logging, level.upper())
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(
            fmt="%H:%M:%S" if human else "iso", utc=not human, key="timestamp" if human else "time"
        ),
        structlog.processors.format_exc_info,
        _hide_fields,
        _keep_recent,
    ]
    render: list[Processor] = [_human(out) if human else _json, _redact_line]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=out),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(level=number, handlers=[handler], force=True)
    logging.captureWarnings(True)


class _Stream:
    """A stream that never raises: a closed terminal or a full disk must not fail the code that logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            return 0

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def isatty(self) -> bool:
        return self._stream.isatty()


def _human(out: _Stream) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=wants_colours(out), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )


def _hide_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if is_secret_name(name) and value is not None:
            event[name] = HIDDEN
        elif isinstance(value, Mapping):
            event[name] = _hidden(value)
    return event


def _hidden(fields: Mapping[Any, Any]) -> dict[Any, Any]:
    """Copy a mapping (headers, a body) with secret fields hidden, at any depth."""
    return {
        name: HIDDEN
        if is_secret_name(str(name)) and value is not None
        else _hidden(value)
        if isinstance(value, Mapping)
        else value
        for name, value in fields.items()
    }


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    line = {
        "time": event.pop("time", None),
        "level": event.pop("level", None),
        "event": event.pop("event", ""),
    }
    line.update(event)
    try:
        return msgspec.json.encode(line, enc_hook=repr).decode()
    except (UnicodeError, TypeError, ValueError):  # a lone surrogate, or a key that is not a string
        plain = {name: value if isinstance(value, str | int) else repr(value) for name, value in line.items()}
        return json.dumps(plain)


def _keep_recent(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    fields = {name: value for name, value in event.items() if not name.startswith("_")}
    fields["time"] = time.time()
    fields.pop("timestamp", None)
    recent.add(_secrets.redact(_json(None, "", fields)))
    return event


def _redact_line(_: WrappedLogger, __: str, line: Any) -> Any:
    return _secrets.redact(line)
