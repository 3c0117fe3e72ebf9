"""Where the configuration and the state lie unless somebody says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

FILE_NAME = "hotseat.yaml"


def config_files(env: Mapping[str, str]) -> list[Path]:
    """Where a configuration is looked for, in this order; the first that exists is read."""
    base = env.get("XDG_CONFIG_HOME") or os.path.join(home_folder(env), ".config")
    return [Path(FILE_NAME), Path(base, "hotseat", FILE_NAME), Path("/etc/hotseat", FILE_NAME)]


def state_dir(env: Mapping[str, str], *, root: bool) -> str:
    """A service that runs as root keeps its state in ``/var/lib``, a person's in ``XDG_STATE_HOME``."""
    if base := env.get("XDG_STATE_HOME"):
        return os.path.join(base, "hotseat")
    return "/var/lib/hotseat" if root else os.path.join(home_folder(env), ".local", "state", "hotseat")


def home_folder(env: Mapping[str, str]) -> str:
    """Where ``~`` leads."""
    return env.get("HOME") or os.path.expanduser("~")


def beside(file: str, text: str, env: Mapping[str, str]) -> str:
    """A path that a configuration names: ``~`` is the home folder, the rest is relative to the file's."""
    if text == "~" or text.startswith("~/"):
        text = home_folder(env) + text[1:]
    return os.path.normpath(Path(file).absolute().parent / text)
