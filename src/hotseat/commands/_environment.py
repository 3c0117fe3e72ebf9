"""The environment of a launcher: this process's, completed from the ``.env`` beside its configuration.

``hotseat serve`` reads that file even where ``HOTSEAT_ENV_FILE`` does not name it, and so do the commands
that talk to it: nobody has to export keys by hand.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hotseat.config.load import find
from hotseat.config.problems import ConfigError
from hotseat.core.spec import ListenSpec
from hotseat.envfile import disk
from hotseat.envfile.syntax import EnvFileError
from hotseat.stack.compose.reading import COMPOSE_NAMES


def with_env_file(config: str | os.PathLike[str] | None, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with ``HOTSEAT_ENV_FILE`` set, if a ``.env`` lies beside the configuration."""
    if disk.VARIABLE in env or (folder := _folder(config, env)) is None:
        return dict(env)
    beside = folder / ".env"
    return {**env, disk.VARIABLE: str(beside.absolute())} if beside.is_file() else dict(env)


def completed(config: str | os.PathLike[str] | None, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with the variables of the ``.env`` file, as far as it can be read.

    A command may be run by somebody who may not read the launcher's file.
    """
    try:
        return disk.environment(with_env_file(config, env))
    except (OSError, EnvFileError):
        return dict(env)


def published_address(config: str | os.PathLike[str] | None, env: Mapping[str, str]) -> ListenSpec | None:
    """Return where the launcher of a Compose stack is published; ``None``: not said, or no stack."""
    folder = _folder(config, env) or Path()
    port, host = env.get("LAUNCHER_PORT", ""), env.get("LAUNCHER_BIND", "")
    if env.get("LISTEN") or not (port or host) or not any((folder / one).is_file() for one in COMPOSE_NAMES):
        return None
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        return None  # hotseat doctor says so
    return ListenSpec(host.strip("[]"), int(port or 8000))


def _folder(config: str | os.PathLike[str] | None, env: Mapping[str, str]) -> Path | None:
    try:
        return Path(config or find(env)).parent
    except ConfigError:
        return None
