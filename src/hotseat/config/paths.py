"""Default locations of the configuration and the state, and how paths in the file are resolved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

FILE_NAME = "hotseat.yaml"


def config_files(env: Mapping[str, str]) -> list[Path]:
    """Candidates for the configuration file, in order; the first that exists is read."""
    base = env.get("XDG_CONFIG_HOME") or os.path.join(home_folder(env), ".config")
    return [Path(FILE_NAME), Path(base, "hotseat", FILE_NAME), Path("/etc/hotseat", FILE_NAME)]


def state_dir(env: Mapping[str, str], *, root: bool) -> str:
    """The default state folder: ``/var/lib/hotseat`` for root, else below the user's home."""
    if base := env.get("XDG_STATE_HOME"):
        return os.path.join(base, "hotseat")
    return "/var/lib/hotseat" if root else os.path.join(home_folder(env), ".local", "state", "hotseat")


def home_folder(env: Mapping[str, str]) -> str:
    """The home folder that ``~`` stands for."""
    return env.get("HOME") or os.path.expanduser("~")


def relative_to(file: str, text: str, env: Mapping[str, str]) -> str:
    """Resolve a path named in ``file``: relative to its folder, with ``~`` for the home folder."""
    if text == "~" or text.startswith("~/"):
        text = home_folder(env) + text[1:]
    return os.path.normpath(Path(file).absolute().parent / text)
