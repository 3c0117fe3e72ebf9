"""Where a launcher with this configuration listens and keeps its state: what others must know of it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hotseat.config import values
from hotseat.config.document import read
from hotseat.config.load import find, text_of_file
from hotseat.config.places import home_folder, state_dir
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


def state_folder(path: str | os.PathLike[str] | None, env: Mapping[str, str]) -> str:
    """The file's ``state_dir``, else the default; other keys are not looked at. Raises ``ConfigError``."""
    default = state_dir(env, root=os.geteuid() == 0)
    if path is None:
        try:
            path = find(env)
        except ConfigError:
            return default
    file = os.fspath(path)
    document = read(text_of_file(file), file, env)
    given = document.data.get("state_dir") if isinstance(document.data, dict) else None
    if not isinstance(given, str) or not given:
        return default
    if given == "~" or given.startswith("~/"):
        given = home_folder(env) + given[1:]
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(file)), given))


def _address(value: object, place: Problem) -> tuple[str, int]:
    try:
        return values.address(value)
    except ValueError as error:
        raise ConfigError([Problem(place.file, place.line, place.key, str(error))]) from None
