"""Client of the demo: one streamed chat request, reported as it proceeds and timed."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


class RequestFailed(Exception):
    """Refused request, or a stream that ended in an error; the message is the server's."""


@dataclass(slots=True)
class Progress:
    """Progress of the start, from an SSE comment of hotseat."""

    text: str


@dataclass(slots=True)
class TextChunk:
    """TextChunk of the response text."""

    text: str


@dataclass(slots=True)
class Answer:
    """Complete response. Seconds are counted from just before the request was sent."""

    text: str
    first_s: float
    """Until the first piece of text."""
    total_s: float
    tokens: int
    """Completion tokens, as counted by the engine."""

    @property
    def tokens_per_s(self) -> float | None:
        """Rate after the first token; ``None`` for a response of one token."""
        spent = self.total_s - self.first_s
        return (self.tokens - 1) / spent if self.tokens > 1 and spent > 0 else None


def ask(port: int, model: str, prompt: str, max_tokens: int = 60) -> Iterator[Progress | TextChunk | Answer]:
    """Send a prompt to ``model``; yield events, ``Answer`` last. Raises ``RequestFailed``, ``OSError``."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    started = time.monotonic()
    text: list[str] = []
    first_s = 0.0
    tokens = 0
    try:
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        if response.status != 200:
            raise RequestFailed(f"status {response.status}: {response.read().decode(errors='replace')}")
        for line in response:
            kind, _, value = line.decode().rstrip("\r\n").partition(":")
            value = value.strip()
            if kind == "" and value:
                yield Progress(value)
            elif kind == "data" and value != "[DONE]":
                event = json.loads(value)
                if "error" in event:
                    raise RequestFailed(str(event["error"].get("message", event["error"])))
                tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
                piece = "".join(choice["delta"].get("content") or "" for choice in event["choices"])
                if piece:
                    first_s = first_s or time.monotonic() - started
                    text.append(piece)
                    yield TextChunk(piece)
    finally:
        connection.close()
    if not text:
        raise RequestFailed("the stream ended without any text")
    yield Answer("".join(text), first_s, time.monotonic() - started, tokens)


def get(port: int, path: str) -> dict[str, Any]:
    """Fetch the JSON object at ``path``. Raises ``OSError``, and ``RequestFailed`` for any status but 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise RequestFailed(f"{path}: status {response.status}: {body.decode(errors='replace')}")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise RequestFailed(f"{path}: not a JSON object")
    return found
