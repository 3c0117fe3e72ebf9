"""Where a launcher with this configuration listens and keeps its state: what others must know of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from hotseat.config.document import read
from hotseat.config.load import find, text_of_file
from hotseat.config.parsers import values
from hotseat.config.paths import beside, state_dir
from hotseat.config.problems import ConfigError, ConfigProblem

DEFAULT = ("127.0.0.1", 8000)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a launcher listens."""

    host: str
    port: int
    cert: str | None = None
    """The certificate that it shows; ``None``: it speaks plain HTTP."""


def listens(path: str | os.PathLike[str] | None, env: Mapping[str, str]) -> ListenAddress:
    """``LISTEN``, else the file's ``listen``, else the default; and the file's ``tls``. No other key is read.

    A client may lack what the launcher has (keys, variables), so only these values must be sound.
    Raises ``ConfigError``: a named file that cannot be read, or a ``listen`` that is none.
    """
    variable = env.get("LISTEN")
    address = _address(variable, ConfigProblem("environment", None, "LISTEN", "")) if variable else None
    if path is None:
        try:
            path = find(env)
        except ConfigError:
            return ListenAddress(*(address or DEFAULT))
    file = os.fspath(path)
    document = read(text_of_file(file), file, env)
    data = document.data if isinstance(document.data, dict) else {}
    given = data.get("listen")
    if address is None and given is not None:
        address = _address(given, ConfigProblem(file, document.place(("listen",)).line, "listen", ""))
    tls = data.get("tls")
    cert = tls.get("cert") if isinstance(tls, dict) else None
    return ListenAddress(
        *(address or DEFAULT), cert=beside(file, cert, env) if isinstance(cert, str) else None
    )


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
    return beside(file, given, env)


def _address(value: object, place: ConfigProblem) -> tuple[str, int]:
    try:
        return values.address(value)
    except ValueError as error:
        raise ConfigError([ConfigProblem(place.file, place.line, place.key, str(error))]) from None
