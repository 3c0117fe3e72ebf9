"""Decodes request bodies that clients have compressed (``Content-Encoding``), never beyond the body limit."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable

from hotseat.gateway.http.errors import ErrorResponse, RequestRefused, bad_request

_MAX_CODINGS = 3
"""Codings of one body, one inside the other."""
_GZIP = 16 + zlib.MAX_WBITS


def decode(content: bytes, codings: bytes, limit: int) -> bytes:
    """Undo the codings that a ``Content-Encoding`` lists, the last one first.

    Raises ``RequestRefused``: 400 for a broken body, 413 beyond ``limit`` bytes at any stage, 415 for a
    coding that is not supported.
    """
    names = [name for coding in codings.split(b",") if (name := coding.strip().lower()) != b"identity"]
    if len(names) > _MAX_CODINGS or not all(name in _DECODERS for name in names):
        raise _not_supported(codings)
    for name in reversed(names):
        if not content:
            break
        try:
            content = _DECODERS[name](content, limit)
        except _Broken:
            raise bad_request(
                f"the body is not valid {name.decode('ascii')}, or not whole", code="invalid_encoding"
            ) from None
        if len(content) > limit:
            raise RequestRefused(
                ErrorResponse(
                    status=413,
                    code="body_too_large",
                    message=f"the decoded body is larger than {limit} bytes (body_limit)",
                    should_retry=False,
                )
            )
    return content


class _Broken(Exception):
    """The body cannot be decoded."""


def _inflate(content: bytes, limit: int, wbits: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while content:  # gzip may have several members
        decoder = zlib.decompressobj(wbits)
        try:
            piece = decoder.decompress(content, limit + 1 - size)
        except zlib.error:
            raise _Broken from None
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            break
        if not decoder.eof or (decoder.unused_data and wbits != _GZIP):
            raise _Broken
        content = decoder.unused_data
    return b"".join(pieces)


def _gunzip(content: bytes, limit: int) -> bytes:
    return _inflate(content, limit, _GZIP)


def _deflate(content: bytes, limit: int) -> bytes:
    """Undo ``deflate``: with zlib's header as RFC 9110 says, or without, as some clients send it."""
    try:
        return _inflate(content, limit, zlib.MAX_WBITS)
    except _Broken:
        return _inflate(content, limit, -zlib.MAX_WBITS)


def _unzstd(content: bytes, limit: int) -> bytes:
    # Loaded when the first such body comes: few clients send one.
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    pieces: list[bytes] = []
    size = 0
    while content:
        decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG})
        try:
            piece = decoder.decompress(content, limit + 1 - size)
        except zstd.ZstdError:
            raise _Broken from None
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            break
        if not decoder.eof:
            raise _Broken
        content = decoder.unused_data
    return b"".join(pieces)


_MAX_WINDOW_LOG = 23
"""Of zstd's window, 8 MiB: what RFC 9659 allows for a content coding."""

_DECODERS: dict[bytes, Callable[[bytes, int], bytes]] = {
    b"gzip": _gunzip,
    b"x-gzip": _gunzip,
    b"deflate": _deflate,
    b"zstd": _unzstd,
}


def _not_supported(codings: bytes) -> RequestRefused:
    shown = codings[:40].decode("latin-1")
    return RequestRefused(
        ErrorResponse(
            status=415,
            code="unsupported_encoding",
            message=f"Content-Encoding {shown!r} is not supported: use gzip, deflate or zstd, or send the "
            "body uncompressed",
            should_retry=False,
            headers=((b"accept-encoding", b"gzip, deflate, zstd"),),
        )
    )
