"""Reads and writes ``.env`` files: atomically, with mode 600."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hotseat.bounded_file import read_bounded
from hotseat.envfile.syntax import parse

_MAX_BYTES = 4 * 1024 * 1024
VARIABLE = "HOTSEAT_ENV_FILE"
"""Names a ``.env`` file that is read at the start and again at every reload."""


def read(path: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a file sets; none where there is no file.

    Raises ``EnvFileError``, and ``OSError`` where the file cannot be read.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        return {}
    return parse(text, env)


def read_text(path: Path) -> str:
    """Return a file's text, line ends and all; a byte that is not UTF-8 becomes a lone surrogate.

    Such a value reaches a process byte for byte, as with Compose. Raises ``OSError``.
    """
    return read_bounded(path, _MAX_BYTES).decode("utf-8", "surrogateescape")


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment, completed from the file that ``HOTSEAT_ENV_FILE`` names.

    A variable of the process overrides the file's, as with Compose. Raises what ``read`` raises.
    """
    named = env.get(VARIABLE)
    return {**(read(Path(named), env) if named else {}), **env}


def create_private(path: Path, text: str) -> None:
    """Create a file with mode 600. Raises ``FileExistsError`` where it exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        file.flush()
        os.fsync(file.fileno())


def replace_private(path: Path, text: str) -> None:
    """Replace a file atomically; mode 600, same owner. Raises ``OSError``."""
    target = path.resolve()  # a symbolic link is kept
    before = target.stat()
    descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                with contextlib.suppress(PermissionError):  # not root: this user becomes the owner
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.write(text.encode("utf-8", "surrogateescape"))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
