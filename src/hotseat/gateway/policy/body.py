"""Reads what routing needs from a request's body: the model, and whether the answer is to be streamed.

The body is read by a real JSON parser at depth one, never by a scan: names are compared with their
escapes decoded, and the last of duplicate keys wins, as in the servers' own parsers.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import Any

import msgspec

from hotseat.gateway.http.errors import RequestRefused, bad_request
from hotseat.gateway.http.headers import RequestHead
from hotseat.gateway.policy.content_coding import decode
from hotseat.gateway.policy.request_body import OpaqueBody, RequestBody, describe, invalid_json

DEFAULT_LIMIT_BYTES = 32 * 1024 * 1024

_TRUE = (True, 1, "true", "True", "TRUE", "1", "on", "yes", "t", "y")
"""Values that servers with lenient parsers take for true (pydantic's lax mode)."""


class _BodyFields(msgspec.Struct):
    model: str | None = None
    stream: Any = False


_decode_fields = msgspec.json.Decoder(_BodyFields).decode

EMPTY = RequestBody(b"")
"""The body of a request that has none. Shared: it is never changed."""


def read(
    content: bytes, head: RequestHead, limit: int = DEFAULT_LIMIT_BYTES, *, any_type: bool = False
) -> RequestBody:
    """Parse a body as far as routing needs it; ``limit``: the most bytes that it may have once decoded.

    Raises ``RequestRefused``: 400 for invalid JSON, a broken form or a wrong type, 413 and 415 for a body
    that cannot be decoded.

    Whatever is not a form must be a JSON object, whatever its ``Content-Type`` says: some servers parse
    bodies as JSON regardless, and nothing may reach them unread. With ``any_type`` (paths that the operator
    allowed for one model) a body that says that it is something else may be that.
    """
    if head.is_json:
        return _read_json(content)
    encoding = head.picked.get(b"content-encoding")
    if encoding is not None:
        content = decode(content, encoding, limit)
    content_type = head.picked.get(b"content-type", b"")
    if content and content_type[:20].lower().startswith(b"multipart/form-data"):
        from hotseat.gateway.policy.multipart import Form  # its parser is imported for uploads only

        return Form(content, content_type)
    try:
        return _read_json(content)
    except RequestRefused:
        media_type = content_type.partition(b";")[0].strip().lower()
        if not any_type or not media_type or media_type.endswith((b"/json", b"+json")):
            raise
        return OpaqueBody(content)


def _read_json(content: bytes) -> RequestBody:
    if not content:
        return EMPTY
    try:
        if not content.isascii():
            content.decode()
        fields = _decode_fields(content)
    except msgspec.ValidationError as error:
        raise bad_request(f"the body has a wrong type: {error}", param=_param(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = content.removeprefix(BOM_UTF8)  # some editors and shells write one
        if text and len(text) < len(content) and not text.startswith(BOM_UTF8):
            return _read_json(text)
        raise invalid_json(describe(error)) from None
    except RecursionError:
        raise invalid_json("nested too deeply") from None
    stream = fields.stream
    return RequestBody(
        content,
        fields.model,
        stream if stream is True or stream is False else _is_true(stream),
        stream is True,
    )


def _is_true(value: Any) -> bool:
    return isinstance(value, int | str | float) and value in _TRUE


def _param(error: msgspec.ValidationError) -> str | None:
    return "model" if str(error).endswith("`$.model`") else None
