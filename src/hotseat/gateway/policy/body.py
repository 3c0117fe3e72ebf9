"""Reads what routing needs from a request's body: the model, and whether the answer is to be streamed.

The body is read by a real JSON parser at depth one, never by a scan: names are compared with their
escapes decoded, and the last of duplicate keys wins, as in the servers' own parsers.
"""

from __future__ import annotations

from codecs import BOM_UTF8

import msgspec

from hotseat.gateway.http.errors import RequestRefused, bad_request
from hotseat.gateway.http.headers import RequestHead
from hotseat.gateway.policy.request_body import OpaqueBody, RequestBody, describe, invalid_json

_TRUE = (True, 1, "true", "True", "TRUE", "1", "on", "yes", "t", "y")
"""Values that servers with lenient parsers take for true (pydantic's lax mode)."""


_MAX_NAME_LENGTH = 16 * 1024
"""Of a model's name, in characters."""


_MAX_STREAM_BYTES = 32
_NOT_GIVEN = msgspec.Raw(b"")


class _BodyFields(msgspec.Struct):
    model: str | None = None
    stream: msgspec.Raw = _NOT_GIVEN  # decoded if it is short: it may be anything, of any size


_decode_value = msgspec.json.Decoder().decode
_decode_fields = msgspec.json.Decoder(_BodyFields).decode

EMPTY = RequestBody(b"")
"""The body of a request that has none. Shared: it is never changed."""


def read(content: bytes, head: RequestHead, *, any_type: bool = False) -> RequestBody:
    """Parse a body, decompressed, as far as routing needs it.

    Raises ``RequestRefused`` (400) for invalid JSON, a broken form or a wrong type.

    Whatever is not a form must be a JSON object, whatever its ``Content-Type`` says: some servers parse
    bodies as JSON regardless, and nothing may reach them unread. With ``any_type`` (paths that the operator
    allowed for one model) a body that says that it is something else may be that.
    """
    if head.is_json:
        return _read_json(content)
    content_type = head.picked.get(b"content-type", b"")
    if content and content_type[:20].lower().startswith(b"multipart/form-data"):
        from hotseat.gateway.policy.multipart import Form  # its parser is imported for uploads only

        return Form(content, content_type)
    try:
        return _read_json(content)
    except RequestRefused:
        if not any_type or not may_be_opaque(head):
            raise
        return OpaqueBody(content)


def may_be_opaque(head: RequestHead) -> bool:
    """Whether the header says that the body is neither JSON nor a form."""
    media_type = head.picked.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return bool(media_type) and not media_type.endswith((b"/json", b"+json", b"/form-data"))


def without_bom(content: bytes) -> bytes:
    """The content without a byte order mark, which some editors and shells write before JSON."""
    text = content.removeprefix(BOM_UTF8)
    return content if not text or text.startswith(BOM_UTF8) else text


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
        text = without_bom(content)
        if text is not content and len(text) < len(content):
            return _read_json(text)
        raise invalid_json(describe(error)) from None
    except RecursionError:
        raise invalid_json("nested too deeply") from None
    if fields.model is not None and len(fields.model) > _MAX_NAME_LENGTH:
        raise bad_request(f"model is longer than {_MAX_NAME_LENGTH} characters", param="model")
    stream = fields.stream
    written = b"" if stream is _NOT_GIVEN else bytes(stream)
    return RequestBody(content, fields.model, _is_true(written), written == b"true")


def _is_true(written: bytes) -> bool:
    if written == b"true":
        return True
    if written in (b"", b"false") or len(written) > _MAX_STREAM_BYTES:
        return False
    try:
        value = _decode_value(written)
    except msgspec.DecodeError:  # a number beyond all bounds
        return False
    return isinstance(value, int | str | float) and value in _TRUE


def _param(error: msgspec.ValidationError) -> str | None:
    return "model" if str(error).endswith("`$.model`") else None
