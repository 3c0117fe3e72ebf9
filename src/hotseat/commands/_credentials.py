"""What the commands prove themselves by, besides their key: a second factor, and what a front wants.

Nothing secret is an argument: those can be read by everybody on the machine.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path

from hotseat.commands._errors import CommandFailed

SECRET, BASIC = "HOTSEAT_API_SECRET", "HOTSEAT_BASIC"
"""Variables with the value of ``X-API-Secret``, and with user and password (``user:password``)."""
HEADERS_FILE = "HOTSEAT_HEADERS_FILE"
"""Names a file with header fields, each on a line: ``CF-Access-Client-Id: …``."""

_MAX_FILE_BYTES = 64 * 1024
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)[ \t]*")


def fields(key: str | None, env: Mapping[str, str], headers_file: str | None = None) -> dict[str, str]:
    """The header fields that show who asks.

    Raises ``CommandFailed`` for what is none, without repeating it.
    """
    told = _file(headers_file or env.get(HEADERS_FILE))
    if secret := env.get(SECRET):
        told.setdefault("X-Api-Secret", _plain(secret, SECRET))
    if (basic := env.get(BASIC)) and "Authorization" not in told:
        if ":" not in basic:
            raise CommandFailed(f"{BASIC} is a user and a password: user:password")
        told["Authorization"] = "Basic " + base64.b64encode(basic.encode()).decode()
    if key:
        key = _plain(key, "the key")
        if "Authorization" in told:
            told.setdefault("X-Api-Key", key)
        else:
            told["Authorization"] = f"Bearer {key}"
    return told


def _file(name: str | None) -> dict[str, str]:
    if not name:
        return {}
    try:
        with Path(name).open("rb") as source:
            lines = source.read(_MAX_FILE_BYTES).decode("latin-1").splitlines()
    except OSError as error:
        raise CommandFailed(f"{name} cannot be read: {error.strerror}") from None
    told: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _FIELD.fullmatch(line)
        if found is None:
            raise CommandFailed(f"{name}:{number}: expected a header field such as X-API-Secret: VALUE")
        told[found[1].title()] = found[2]
    return told


def _plain(value: str, what: str) -> str:
    if not (value.isascii() and value.isprintable()):
        # http.client would say so too, with the value in its words
        raise CommandFailed(f"{what} has characters that a header cannot carry")
    return value
