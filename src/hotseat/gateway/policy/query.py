"""A request's query as the model's server gets it: without credentials.

Keys are read from header fields only, but some clients send one as ``?api_key=…`` as well, and servers
write queries into their logs.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_ENDINGS = (
    b"key",
    b"token",
    b"secret",
    b"password",
    b"passwd",
    b"auth",
    b"authorization",
    b"bearer",
    b"credential",
    b"credentials",
    b"jwt",
    b"sig",
    b"signature",
)
"""Endings of a parameter's name, of which only the letters count (``X-Api_Key[0]`` is ``xapikey``)."""
_NO_LETTERS = re.compile(rb"[^a-z]")


def without_credentials(query: bytes) -> bytes:
    """Remove the parameters whose names say that they hold a secret from a query (``?…``, or empty).

    All others stay as they were written, in their order.
    """
    if not query:
        return query
    given = query[1:].split(b"&")
    kept = [parameter for parameter in given if not _is_secret(parameter.partition(b"=")[0])]
    if len(kept) == len(given):
        return query
    return b"?" + b"&".join(kept) if kept else b""


def _is_secret(name: bytes) -> bool:
    decoded = unquote_to_bytes(name).lower()
    return _NO_LETTERS.sub(b"", decoded).endswith(_ENDINGS)
