"""The part of a debug capture that belongs to one request.

It records the request's body as the model's server got it and the response's as that server sent it. No
headers are recorded, and credentials inside the two texts become ``***``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib

import msgspec

from hotseat import logs
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.proxy.capture import Capture
from hotseat.gateway.proxy.forward import MeteredForward
from hotseat.secret_names import is_secret_name

_MIN_SECRET_LENGTH = 4
"""Anything shorter is left alone: it would be found in many harmless words."""

_encode = msgspec.json.Encoder().encode


class CapturedForward(MeteredForward, eq=False):
    """A request whose body and response are kept, within the capture's bounds, until it has ended."""

    _capture: Capture | None = None
    _record_id: str = ""
    _body: bytes = b""
    _body_bytes: int = 0
    _answer: bytearray = msgspec.field(default_factory=bytearray)
    _answer_bytes: int = 0
    _secrets: list[str] = msgspec.field(default_factory=list)

    def begin_capture(self, capture: Capture, record_id: str) -> None:
        """Record this request; called before it is sent."""
        content = self._request.content
        self._capture = capture
        self._record_id = record_id
        self._body = capture.take(content, 0)
        self._body_bytes = len(content)
        self._secrets = _sent_credentials(self._cycle)
        capture.add(self)

    @property
    def held(self) -> int:
        """Bytes of both texts."""
        return len(self._body) + len(self._answer)

    def on_data(self, data: bytes) -> None:
        """Keep a piece of the response's body, and pass it on."""
        assert self._capture is not None
        self._answer_bytes += len(data)
        self._answer += self._capture.take(data, len(self._answer))
        super().on_data(data)

    def line(self, time: str) -> bytes:
        """The record as a line of JSON; ``whole`` says that the client got the whole response."""
        request = self._request
        record = {
            "time": time,
            "id": self._record_id,
            "key": request.key,
            "route": request.route.name,
            "method": request.method.decode("latin-1"),
            "target": request.target.decode("latin-1"),
            "status": self.upstream_status,
            "whole": self.failure is None and self._cycle.response_complete,
            "code": self.code,
            "failure": self.failure,
            "request_bytes": self._body_bytes,
            "request": self._redacted(self._body),
            "answer_bytes": self._answer_bytes,
            "answer": self._redacted(bytes(self._answer)),
        }
        return logs.redact(_encode(record).decode()).encode() + b"\n"

    def _redacted(self, data: bytes) -> str:
        text = data.decode("utf-8", "replace")
        for secret in self._secrets:
            text = text.replace(secret, logs.HIDDEN)
        return text


def _sent_credentials(cycle: RequestCycle) -> list[str]:
    """The secrets in the client's headers, longest first: they may stand in its prompt, too."""
    found = set()
    for name, value in cycle.headers:
        if is_secret_name(name.decode("latin-1")):
            text = value.decode("latin-1")
            word = text.rpartition(" ")[2]
            found |= {text, word}
            if text[:6].lower() == "basic ":
                with contextlib.suppress(binascii.Error):
                    found.add(base64.b64decode(word).decode("utf-8", "replace").partition(":")[2])
    return sorted((one for one in found if len(one) >= _MIN_SECRET_LENGTH), key=len, reverse=True)
