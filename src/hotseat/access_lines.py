"""Access log lines for people: the JSON lines of the log, one short line for each request."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec

from hotseat.logs import redact

_RED, _YELLOW, _GREEN, _END = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[0m"


def for_people(lines: bytes, *, colours: bool) -> bytes:
    """Return JSON lines of the access log as text; what is not such a line stays as it is."""
    return b"".join(_line(line, colours) + b"\n" for line in lines.splitlines())


def _line(line: bytes, colours: bool) -> bytes:
    try:
        record: Mapping[str, Any] = msgspec.json.decode(line)
        text = _text(record, colours)
    except (msgspec.DecodeError, LookupError, TypeError, ValueError, AttributeError):
        return line
    return redact(text).encode("utf-8", "replace")


def _text(record: Mapping[str, Any], colours: bool) -> str:
    at = datetime.datetime.fromisoformat(record["time"]).astimezone().strftime("%H:%M:%S")
    status = int(record.get("status", 0))
    shown = str(status)
    if colours:
        colour = _GREEN if status < 400 else _YELLOW if status < 500 else _RED
        shown = f"{colour}{status}{_END}"
    parts = [f"{record.get('duration_s', 0.0):.2f} s"]
    if (waited := record.get("waited_s", 0.0)) >= 0.1:
        parts.append(f"waited {waited:.1f} s")
    if (first := record.get("first_byte_s")) is not None and record.get("stream"):
        parts.append(f"first byte {first:.2f} s")
    if (out := record.get("tokens_out")) is not None:
        parts.append(f"{record.get('tokens_in') or 0}+{out} tokens")
    parts += [f"{name} {record[name]}" for name in ("code", "failed", "key") if record.get(name)]
    words = [at, shown, str(record.get("method", "-")), str(record.get("path") or "-")]
    if model := record.get("route") or record.get("model"):
        words.append(str(model))
    line = f"{' '.join(words)}: {', '.join(parts)}"
    return "".join(letter if letter.isprintable() or letter == "\x1b" else "?" for letter in line)
