"""Reads what routing needs from a request's body: the model, and whether the answer is to be streamed.

The body is read by a real JSON parser at depth one, never by a scan: names are compared with their
escapes decoded, and the last of duplicate keys wins, as in the servers' own parsers.
"""

from __future__ import annotations

import msgspec

from hotseat.gateway.http.errors import ErrorResponse, RequestRefused, bad_request
from hotseat.gateway.http.headers import RequestHead
from hotseat.gateway.policy.request_body import RequestBody, describe, invalid_json

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


def read(content: bytes, head: RequestHead) -> RequestBody:
    """Parse a body as far as routing needs it.

    Raises ``RequestRefused``: 400 for invalid JSON, a broken form or a wrong type, 415 for a compressed body.

    Whatever is not a form must be a JSON object, whatever its ``Content-Type`` says: some servers parse
    bodies as JSON regardless, and nothing may reach them unread.
    """
    if not head.is_json:
        encoding = head.picked.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            raise _unsupported_encoding(encoding)
        content_type = head.picked.get(b"content-type", b"")
        if content and content_type[:20].lower().startswith(b"multipart/form-data"):
            from hotseat.gateway.policy.multipart import Form  # its parser is imported for uploads only

            return Form(content, content_type)
    if not content:
        return EMPTY
    try:
        if not content.isascii():
            content.decode()
        fields = _decode_fields(content)
    except msgspec.ValidationError as error:
        raise bad_request(f"the body has a wrong type: {error}", param=_param(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
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


def _unsupported_encoding(encoding: bytes) -> RequestRefused:
    shown = encoding[:40].decode("latin-1")
    return RequestRefused(
        ErrorResponse(
            status=415,
            code="unsupported_encoding",
            message=f"Content-Encoding {shown!r} is not supported: send the body uncompressed",
            should_retry=False,
        )
    )
