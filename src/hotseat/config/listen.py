"""Where a launcher with this configuration listens: what a client of it must know, and no more."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hotseat.config import values
from hotseat.config.document import read
from hotseat.config.load import find, text_of_file
from hotseat.config.problems import ConfigError, Problem

DEFAULT = ("127.0.0.1", 8000)


def listen_address(path: str | os.PathLike[str] | None, env: Mapping[str, str]) -> tuple[str, int]:
    """``LISTEN``, else the file's ``listen``, else the default; other keys are not looked at.

    A client may lack what the launcher has (keys, variables), so only this one value must be sound.
    Raises ``ConfigError``: a named file that cannot be read, or a ``listen`` that is none.
    """
    if given := env.get("LISTEN"):
        return _address(given, Problem("environment", None, "LISTEN", ""))
    if path is None:
        try:
            path = find(env)
        except ConfigError:
            return DEFAULT
    file = os.fspath(path)
    document = read(text_of_file(file), file, env)
    given = document.data.get("listen") if isinstance(document.data, dict) else None
    if given is None:
        return DEFAULT
    return _address(given, Problem(file, document.place(("listen",)).line, "listen", ""))


def _address(value: object, place: Problem) -> tuple[str, int]:
    try:
        return values.address(value)
    except ValueError as error:
        raise ConfigError([Problem(place.file, place.line, place.key, str(error))]) from None
