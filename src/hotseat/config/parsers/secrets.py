"""Keys and their hashes."""

from __future__ import annotations

import re


def digest(value: object) -> bytes:
    """Parse a SHA-256 hash in hexadecimal."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9A-Fa-f]{64}", value.strip()):
        raise ValueError("expected a SHA-256 hash: 64 hexadecimal digits (printf %s KEY | sha256sum)")
    return bytes.fromhex(value.strip())


def secret(value: object) -> str:
    """Parse a key: text that an HTTP header can carry."""
    if not isinstance(value, str) or not value:
        raise ValueError("expected a key as text, preferably from the environment: ${VARIABLE}")
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValueError("a key consists of printable ASCII characters and has no space at either end")
    return value
