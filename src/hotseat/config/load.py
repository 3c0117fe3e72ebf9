"""Loads the configuration: the file, then the environment's overrides, all checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hotseat.bounded_file import read_bounded
from hotseat.config.document import Document, SourcePosition, read
from hotseat.config.paths import config_files
from hotseat.config.problems import ConfigError, ConfigProblem
from hotseat.config.resolve import Resolver
from hotseat.config.schema.validate import validate
from hotseat.core.spec import Settings
from hotseat.envfile import disk
from hotseat.envfile.syntax import EnvFileError

OVERRIDES: Mapping[str, str] = {
    "LISTEN": "listen",
    "START_TIMEOUT_SECONDS": "start_timeout",
    "IDLE_SECONDS": "idle",
    "REQUIRE_AUTH": "auth",
    "HOTSEAT_SEED": "seed",
}
"""Variables that override keys at the top of the file (never a model's own), by variable."""

_MAX_BYTES = 4 * 1024 * 1024


def load(path: str | os.PathLike[str] | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Load a configuration file.

    ``path`` ``None``: ``HOTSEAT_CONFIG``, else the first of ``paths.config_files`` that exists. ``env``
    ``None``: this process's environment. Raises ``ConfigError`` with all problems, and nothing else.
    """
    env = environment(os.environ if env is None else env)
    file = os.fspath(path) if path is not None else find(env)
    return loads(text_of_file(file), file, env)


def environment(env: Mapping[str, str]) -> Mapping[str, str]:
    """The environment, completed from the ``.env`` file that ``HOTSEAT_ENV_FILE`` names.

    The file is read on every call, so that a rotated key takes effect without a restart. Raises
    ``ConfigError``.
    """
    try:
        return disk.environment(env)
    except EnvFileError as error:
        words = str(error).partition(": ")[2]
        raise ConfigError([ConfigProblem(env[disk.VARIABLE], error.line, "", words)]) from None
    except (OSError, ValueError) as error:
        words = (error.strerror or str(error)) if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError([ConfigProblem(env[disk.VARIABLE], None, "", f"cannot be read: {words}")]) from None


def loads(text: str, file: str, env: Mapping[str, str]) -> Settings:
    """Load a configuration from its text; ``file`` is for messages and relative paths."""
    document = read(text, file, env)
    _override(document, env)
    settings = Resolver(document, validate(document), env).settings()
    if document.problems:
        raise ConfigError(document.problems)
    return settings


def find(env: Mapping[str, str]) -> str:
    """The configuration file to use when none is named. Raises ``ConfigError``."""
    if named := env.get("HOTSEAT_CONFIG"):
        return named
    candidates = config_files(env)
    for candidate in candidates:
        if candidate.is_file():
            return str(candidate)
    tried = ", ".join(str(one) for one in candidates)
    raise ConfigError(
        [
            ConfigProblem(
                "hotseat.yaml",
                None,
                "",
                f"no configuration file found (looked for {tried})",
                "name one with -c FILE",
            )
        ]
    )


def text_of_file(file: str) -> str:
    """The text of a configuration file. Raises ``ConfigError``."""
    try:
        raw = read_bounded(file, _MAX_BYTES)
    except (OSError, ValueError) as error:
        words = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise ConfigError([ConfigProblem(file, None, "", f"cannot be read: {words}")]) from None
    if len(raw) > _MAX_BYTES:
        raise ConfigError(
            [ConfigProblem(file, None, "", "larger than 4 MiB: not a configuration of hotseat")]
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError([ConfigProblem(file, line, "", "not UTF-8 text", "save it as UTF-8")]) from None


def _override(document: Document, env: Mapping[str, str]) -> None:
    data: Any = document.data
    if not isinstance(data, dict):
        return
    for variable, key in OVERRIDES.items():
        if value := env.get(variable):
            data[key] = value
            document.positions[(key,)] = SourcePosition("environment", None, variable)
