"""A request's query as the model's server gets it: without what looks like a credential.

Keys are taken from header fields only, but some clients send one as ``?api_key=…`` all the same, and
servers write what they are asked into their logs.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from hotseat.secret_names import is_secret_name


def without_credentials(query: bytes) -> bytes:
    """The query (with its question mark, or empty), less parameters whose name says that they hold a secret.

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
