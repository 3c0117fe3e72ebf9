"""Progress of a start as visible text, for clients that drop comments: first text of the answer itself.

What a waiting client is told becomes the beginning of its answer, in the events of the API that it speaks.
The server's own beginning of the message is then left out, and its parts are numbered on, so that the client
sees one message. Nothing is changed where nothing was told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from hotseat.core.access_spec import Progress
from hotseat.core.views import Loading

HEADER = b"x-hotseat-progress"
CHOICES: dict[bytes, Progress | None] = {b"text": "text", b"reasoning": "reasoning", b"off": None}
"""Values of the header."""

_encode = msgspec.json.encode
_STARTS = ("message_start", "response.created", "response.in_progress")
"""Events of a server that begin a message that has begun already."""


def words(model: str, loading: Loading) -> str:
    """Say how far a start is: ``loading coder, about 30 s left``."""
    left = "" if loading.eta_s is None else f", about {max(0, round(loading.eta_s))} s left"
    return f"loading {model}{left}"


Style = Callable[["ProgressText", str], bytes]
"""Makes the events that show one line."""


class ProgressText:
    """The text told to one waiting client, and the changes to the stream that follows it."""

    def __init__(self, style: Style, model: str, kind: Progress) -> None:
        """``style`` makes the events of the client's API."""
        self._style, self._model, self._kind = style, model, kind
        self._lines: list[str] = []
        self.closed = False
        """Whether the text has ended: nothing more can be told."""
        self._rest = b""
        self._sequence = 0

    def tell(self, text: str) -> bytes:
        """Return the events that show one more line."""
        self._lines.append(text)
        return self._style(self, text + "\n")

    def close(self) -> bytes:
        """Return the events that end the text, before the server's answer or an error."""
        if not self._lines or self.closed:
            return b""
        self.closed = True
        if self._style is _messages:
            return _named({"type": "content_block_stop", "index": 0})
        if self._style is _responses:
            text = "".join(f"{line}\n" for line in self._lines)
            part = {"type": "output_text", "text": text, "annotations": []}
            done = self._numbered({"type": "response.output_text.done", **_AT, "text": text, "logprobs": []})
            done += self._numbered({"type": "response.content_part.done", **_AT, "part": part})
            item = _item("completed", part)
            return done + self._numbered(
                {"type": "response.output_item.done", "output_index": 0, "item": item}
            )
        return b""

    def rewrite(self, data: bytes) -> bytes:
        """Return a piece of the server's stream as it continues the text."""
        if not self._lines or self._style in (_chat, _completions):
            return data
        *events, self._rest = (self._rest + data.replace(b"\r\n", b"\n")).split(b"\n\n")
        return b"".join(self._shifted(event + b"\n\n") for event in events)

    def rest(self) -> bytes:
        """Return what has arrived of an event that was never completed."""
        rest, self._rest = self._rest, b""
        return rest

    def _shifted(self, event: bytes) -> bytes:
        line = next((line for line in event.split(b"\n") if line.startswith(b"data:")), None)
        if line is None:
            return event
        try:
            content = msgspec.json.decode(line[5:])
        except msgspec.DecodeError:
            return event
        if not isinstance(content, dict):
            return event
        kind = content.get("type")
        if kind in _STARTS:
            return b""
        for field in ("index", "output_index"):
            if isinstance(content.get(field), int):
                content[field] += 1
        if isinstance(content.get("sequence_number"), int):
            return self._numbered(content)
        return _named(content) if isinstance(kind, str) else b"data: %b\n\n" % _encode(content)

    def _numbered(self, event: dict[str, Any]) -> bytes:
        event["sequence_number"] = self._sequence
        self._sequence += 1
        return _named(event)

    @property
    def last_number(self) -> int:
        """The number of the last event of ``/v1/responses``; -1: there was none."""
        return self._sequence - 1

    @property
    def first(self) -> bool:
        """Whether the line being told is the first one."""
        return len(self._lines) == 1

    @property
    def model(self) -> str:
        """The name of the model."""
        return self._model

    @property
    def in_reasoning(self) -> bool:
        """Whether the text goes where reasoning is shown."""
        return self._kind == "reasoning"

    def numbered(self, event: dict[str, Any]) -> bytes:
        """Return an event of ``/v1/responses`` with its number."""
        return self._numbered(event)


_ITEM = "msg_hotseat"
_ID = "hotseat"


_AT = {"item_id": _ITEM, "output_index": 0, "content_index": 0}


def _item(status: str, *content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "id": _ITEM, "status": status, "role": "assistant", "content": list(content)}


def _named(event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), _encode(event))


def _chat(told: ProgressText, text: str) -> bytes:
    delta: dict[str, Any] = {"reasoning_content": text} if told.in_reasoning else {"content": text}
    if told.first:
        delta = {"role": "assistant", **delta}
    return _chunk(told, "chat.completion.chunk", {"delta": delta})


def _completions(told: ProgressText, text: str) -> bytes:
    return _chunk(told, "text_completion", {"text": text, "logprobs": None})


def _chunk(told: ProgressText, kind: str, choice: dict[str, Any]) -> bytes:
    choices = [{"index": 0, "finish_reason": None, **choice}]
    chunk = {"id": _ID, "object": kind, "created": 0, "model": told.model, "choices": choices}
    return b"data: %b\n\n" % _encode(chunk)


def _messages(told: ProgressText, text: str) -> bytes:
    thinking = told.in_reasoning
    begun = b""
    if told.first:
        usage = {"input_tokens": 0, "output_tokens": 0}
        message: dict[str, Any] = {
            "id": _ID, "type": "message", "role": "assistant", "model": told.model, "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": usage,
        }  # fmt: skip
        block = {"type": "text", "text": ""}
        if thinking:
            block = {"type": "thinking", "thinking": "", "signature": ""}
        begun = _named({"type": "message_start", "message": message})
        begun += _named({"type": "content_block_start", "index": 0, "content_block": block})
    delta = {"type": "thinking_delta", "thinking": text} if thinking else {"type": "text_delta", "text": text}
    return begun + _named({"type": "content_block_delta", "index": 0, "delta": delta})


def _responses(told: ProgressText, text: str) -> bytes:
    begun = b""
    if told.first:
        response = {
            "id": _ID, "object": "response", "created_at": 0, "status": "in_progress", "model": told.model,
            "output": [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        }  # fmt: skip
        begun = told.numbered({"type": "response.created", "response": response})
        added = {"type": "response.output_item.added", "output_index": 0, "item": _item("in_progress")}
        begun += told.numbered(added)
        part = {"type": "output_text", "text": "", "annotations": []}
        begun += told.numbered({"type": "response.content_part.added", **_AT, "part": part})
    delta = {"type": "response.output_text.delta", **_AT, "delta": text, "logprobs": []}
    return begun + told.numbered(delta)


_STYLES: dict[bytes, Style] = {
    b"/v1/chat/completions": _chat,
    b"/v1/completions": _completions,
    b"/v1/messages": _messages,
    b"/v1/responses": _responses,
}


def text_for(target: bytes, model: str, kind: Progress) -> ProgressText | None:
    """Return the text for an API by its path; ``None``: its answers have no text."""
    style = _STYLES.get(target.partition(b"?")[0])
    return None if style is None else ProgressText(style, model, kind)
