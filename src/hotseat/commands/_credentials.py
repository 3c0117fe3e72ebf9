"""Credentials that the commands send: a key, a second factor, and header fields that a front wants.

All come from the environment or from a file: everybody on the machine can read a command's arguments.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path

from hotseat.commands._errors import CommandFailed

ADMIN_KEYS = ("HOTSEAT_ADMIN_KEY", "ADMIN_API_KEY", "VLLM_API_KEY")
"""The first of these variables that is set holds the key for the admin API."""
CLIENT_KEYS = ("HOTSEAT_API_KEY", "VLLM_API_KEY")
"""The same for requests to models, which an admin's key need not open."""
API_SECRET = "HOTSEAT_API_SECRET"
"""Variable with the value of ``X-API-Secret``."""
BASIC = "HOTSEAT_BASIC"
"""Variable with a user and password (``user:password``)."""
HEADERS_FILE = "HOTSEAT_HEADERS_FILE"
"""Variable with the name of a file of header fields, each on a line: ``CF-Access-Client-Id: …``."""

_MAX_FILE_BYTES = 64 * 1024
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)[ \t]*")


def header_fields(key: str | None, env: Mapping[str, str], headers_file: str | None = None) -> dict[str, str]:
    """The header fields that authenticate a request.

    Raises ``CommandFailed`` for a value that is invalid, without repeating it.
    """
    fields = _read_file(headers_file or env.get(HEADERS_FILE))
    if secret := env.get(API_SECRET):
        fields.setdefault("X-Api-Secret", _checked(secret, API_SECRET))
    if (basic := env.get(BASIC)) and "Authorization" not in fields:
        if ":" not in basic:
            raise CommandFailed(f"{BASIC} must be a user and a password: user:password")
        fields["Authorization"] = "Basic " + base64.b64encode(basic.encode()).decode()
    if key:
        key = _checked(key, "the key")
        if "Authorization" in fields:
            fields.setdefault("X-Api-Key", key)
        else:
            fields["Authorization"] = f"Bearer {key}"
    return fields


def _read_file(name: str | None) -> dict[str, str]:
    if not name:
        return {}
    try:
        with Path(name).open("rb") as source:
            lines = source.read(_MAX_FILE_BYTES).decode("latin-1").splitlines()
    except OSError as error:
        raise CommandFailed(f"{name} cannot be read: {error.strerror}") from None
    fields: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _FIELD.fullmatch(line)
        if match is None:
            raise CommandFailed(f"{name}:{number}: expected a header field such as X-API-Secret: VALUE")
        fields[match[1].title()] = match[2]
    return fields


def _checked(value: str, what: str) -> str:
    if not (value.isascii() and value.isprintable()):
        # http.client would refuse it too, and repeat the value in its message
        raise CommandFailed(f"{what} has characters that a header cannot carry")
    return value
