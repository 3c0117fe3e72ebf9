"""A request's body: what it asks for (``model``, ``stream``), and the model's name put right.

The peek is a real JSON parse at depth one, never a scan: names are compared with their escapes
decoded, and the last of duplicate keys wins, as in the servers' own parsers. Where nothing has to
change, the bytes stay as they came.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hotseat.gateway.http.errors import ErrorResponse, RequestRefused, bad_request
from hotseat.gateway.http.headers import RequestHead
from hotseat.gateway.policy.rewrite import RewriteRules

_TRUE = (True, 1, "true", "True", "TRUE", "1", "on", "yes", "t", "y")
"""What servers that read numbers and words as booleans take for true (pydantic's lax mode)."""


class _BodyFields(msgspec.Struct):
    model: str | None = None
    stream: Any = False


_peek = msgspec.json.Decoder(_BodyFields).decode
_decode = msgspec.json.Decoder().decode
_whole = msgspec.json.Decoder(dict[str, Any]).decode
_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Body:
    """A whole request body and what it asks for."""

    __slots__ = ("content", "model", "stream")

    def __init__(self, content: bytes, model: str | None = None, stream: bool = False) -> None:
        self.content = content
        self.model = model
        self.stream = stream

    def rewrite(self, rules: RewriteRules, path: bytes, name: str | None) -> None:
        """Do what the route's policy says, and put another model's name in.

        Raises ``RequestRefused`` (400, 404).
        """
        rules.check_path(path)
        if not self.content or (name is None and rules.changes_nothing(self.content)):
            return
        try:
            if rules.prompt is not None:
                whole = _whole(self.content)
            else:  # nothing below the first level matters: it stays as it was written
                whole = {
                    key: _decode(raw) if rules.knows(key) else raw
                    for key, raw in _split(self.content).items()
                }
            before = None if rules.bounds else dict(whole)
            if name is not None:
                whole["model"] = self.model = name
            whole = rules.apply(path, whole)
            if whole != before:
                self.content = msgspec.json.encode(whole)
        except msgspec.DecodeError as error:
            raise bad_request(f"the body is not valid JSON: {_words(error)}", code="invalid_json") from None
        except RecursionError:
            raise bad_request("the body is not valid JSON: nested too deeply", code="invalid_json") from None

    def rename(self, name: str) -> None:
        """Put another model's name in."""
        fields = _split(self.content)
        fields["model"] = msgspec.Raw(msgspec.json.encode(name))
        self.content = msgspec.json.encode(fields)
        self.model = name


NOTHING = Body(b"")
"""The body of a request that has none."""


def read(content: bytes, head: RequestHead) -> Body:
    """Look into a body.

    Raises ``RequestRefused``: 400 where it is not what it must be, 415 where it is encoded.

    Whatever is not a form must be a JSON object, whatever its ``Content-Type`` says: some servers
    parse by habit, and nothing may get past us unread.
    """
    if not head.is_json:
        encoding = head.picked.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            raise _encoded(encoding)
        kind = head.picked.get(b"content-type", b"")
        if content and kind[:20].lower().startswith(b"multipart/form-data"):
            from hotseat.gateway.policy.multipart import (
                Form,  # only for uploads: its parser costs a start-up import
            )

            return Form(content, kind)
    if not content:
        return NOTHING
    try:
        if not content.isascii():
            content.decode()
        asked = _peek(content)
    except msgspec.ValidationError as error:
        raise bad_request(f"the body is not what it must be: {error}", param=_param(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is not valid JSON: {_words(error)}", code="invalid_json") from None
    except RecursionError:
        raise bad_request("the body is not valid JSON: nested too deeply", code="invalid_json") from None
    stream = asked.stream
    return Body(content, asked.model, stream if stream is True or stream is False else _is_true(stream))


def _is_true(value: Any) -> bool:
    return isinstance(value, int | str | float) and value in _TRUE


def _param(error: msgspec.ValidationError) -> str | None:
    return "model" if str(error).endswith("`$.model`") else None


def _words(error: msgspec.DecodeError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (byte {error.start})"
    return str(error).removeprefix("JSON is malformed: ")


def _encoded(encoding: bytes) -> RequestRefused:
    shown = encoding[:40].decode("latin-1")
    return RequestRefused(
        ErrorResponse(
            status=415,
            code="unsupported_encoding",
            message=f"Content-Encoding {shown!r} is not taken: send the body uncompressed",
            should_retry=False,
        )
    )
