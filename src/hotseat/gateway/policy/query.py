"""A request's query as the model's server gets it: without credentials.

Keys are read from header fields only, but some clients send one as ``?api_key=…`` as well, and servers
write queries into their logs.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from hotseat.secret_names import is_secret_name


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
    return is_secret_name(unquote_to_bytes(name).decode("latin-1"))
