"""Settings that clients of a running launcher need: its listen address and its state folder.

A client may lack what the launcher has (keys, variables), so only these values have to be valid.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from hotseat.config.document import read
from hotseat.config.load import find, text_of_file
from hotseat.config.parsers.network import listen as parse_listen
from hotseat.config.paths import relative_to, state_dir
from hotseat.config.problems import ConfigError, ConfigProblem
from hotseat.core.spec import ListenSpec

DEFAULT = ListenSpec("127.0.0.1", 8000)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """The address at which a launcher can be reached."""

    listen: ListenSpec
    cert: str | None = None
    """The file of its certificate; ``None``: plain HTTP."""


def read_listen_address(path: str | os.PathLike[str] | None, env: Mapping[str, str]) -> ListenAddress:
    """Read ``LISTEN``, else the file's ``listen``, else the default; and the file's ``tls``.

    Raises ``ConfigError`` if a named file cannot be read or the address is invalid.
    """
    variable = env.get("LISTEN")
    listen = _address(variable, ConfigProblem("environment", None, "LISTEN", "")) if variable else None
    if path is None:
        try:
            path = find(env)
        except ConfigError:
            return ListenAddress(listen or DEFAULT)
    file = os.fspath(path)
    document = read(text_of_file(file), file, env)
    data = document.data if isinstance(document.data, dict) else {}
    given = data.get("listen")
    if listen is None and given is not None:
        listen = _address(given, ConfigProblem(file, document.position(("listen",)).line, "listen", ""))
    tls = data.get("tls")
    cert = tls.get("cert") if isinstance(tls, dict) else None
    return ListenAddress(
        listen or DEFAULT, cert=relative_to(file, cert, env) if isinstance(cert, str) else None
    )


def read_state_dir(path: str | os.PathLike[str] | None, env: Mapping[str, str]) -> str:
    """Read the file's ``state_dir``, else the default. Raises ``ConfigError``."""
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
    return relative_to(file, given, env)


def _address(value: object, template: ConfigProblem) -> ListenSpec:
    """The first address with a port, or else the first one: a socket may be meant for a proxy alone."""
    try:
        found = parse_listen(value)
    except ValueError as error:
        raise ConfigError([ConfigProblem(template.file, template.line, template.key, str(error))]) from None
    return next((one for one in found if one.path is None), found[0])
