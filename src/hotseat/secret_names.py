"""Names that say that their value is a secret: fields, variables, flags, headers and query parameters.

This is the only such list. The log, the admin pages, queries, captured requests, forwarded headers and
``hotseat lint`` all ask it.
"""

from __future__ import annotations

import functools
import re

_ENDINGS = (
    "key",
    "apikeys",
    "token",
    "secret",
    "secrets",
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "credential",
    "credentials",
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "cookies",
    "jwt",
    "assertion",
    "sig",
    "signature",
)
"""Of a name in lower case, with everything but its letters removed: so no spelling gets past (``api_key``,
``apiKey``, ``X-Api-Key[0]``, ``HF_TOKEN``). ``tokens`` is not among them: ``max_tokens`` is a number."""
_LAST_WORDS = frozenset({"keys", "pass"})
"""These are secrets only as whole words: ``api_keys`` and ``DB_PASS``, but not ``monkeys`` and ``bypass``."""
_HARMLESS = ("allowcredentials", "cachekey", "idempotencykey")
"""Endings of well-known names that hold no secret: a CORS setting, and keys that identify requests."""
_NOT_LETTERS = re.compile(r"[^a-z]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SWITCHES = frozenset({"", "true", "false", "yes", "no", "on", "off", "none", "null", "0", "1"})


@functools.lru_cache(4096)
def is_secret_name(name: str) -> bool:
    """Whether the value of a field, variable, flag, header or parameter of this name is a secret.

    The end of the name decides: ``api_key`` names a secret, ``key_file`` and ``token_type`` do not.
    """
    letters = _NOT_LETTERS.sub("", name.lower())
    if letters.endswith(_HARMLESS):
        return False
    if letters.endswith(_ENDINGS):
        return True
    words = _WORD.findall(name)
    return bool(words) and words[-1].lower() in _LAST_WORDS


def can_be_secret(value: str) -> bool:
    """Whether a value can be a secret: a switch such as ``true`` or ``off`` cannot, whatever its name."""
    return value.strip().lower() not in _SWITCHES
