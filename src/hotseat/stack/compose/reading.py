"""Reads a Compose project: with Compose if it is installed, else with hotseat's own reader."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotseat.envfile import disk
from hotseat.envfile.interpolation import required
from hotseat.envfile.syntax import EnvFileError
from hotseat.stack.compose import compose_file
from hotseat.stack.compose.compose_file import ComposeFileError, ComposeText
from hotseat.stack.compose.model import ComposeModel, from_data

COMPOSE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_TIMEOUT_S = 60
PLACEHOLDER = "placeholder"
"""Value of required variables that are not set, so that checks work without ``.env``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeReading:
    """A project, its text as written, and what resolved it."""

    project: ComposeModel
    written: ComposeText
    files: tuple[Path, ...]
    read_by: str
    """Such as ``Compose 2.40.3``; ``hotseat`` if Compose is not installed."""


@dataclass(frozen=True, slots=True)
class ComposeCommand:
    """Compose v2 on this machine."""

    words: tuple[str, ...]
    """The command, such as ``docker compose``."""
    version: str


def find_compose(env: Mapping[str, str]) -> ComposeCommand | None:
    """Compose v2 or newer if installed: the plugin of ``docker``, or the program ``docker-compose``."""
    for name, *more in (("docker", "compose"), ("docker-compose",)):
        path = shutil.which(name, path=env.get("PATH"))
        if path and (version := _version([path, *more], env)):
            return ComposeCommand((path, *more), version)
    return None


def _version(words: list[str], env: Mapping[str, str]) -> str | None:
    try:
        done = subprocess.run(
            [*words, "version", "--short"], capture_output=True, text=True, timeout=_TIMEOUT_S, env=dict(env)
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"v?(\d+)\.\S*", done.stdout.strip())
    return match[0].removeprefix("v") if match and int(match[1]) >= 2 and not done.returncode else None


def config_hashes(compose: ComposeCommand, folder: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Return Compose's hash of each service's settings; empty if Compose cannot read the folder's files."""
    try:
        done = subprocess.run(
            [*compose.words, "--profile", "*", "config", "--hash", "*"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            cwd=folder,
            env={**env, "PWD": str(folder)},
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    pairs = (line.split() for line in done.stdout.splitlines()) if not done.returncode else ()
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def stack_environment(folder: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The variables that Compose uses: the folder's ``.env``, overridden by the environment, and ``PWD``.

    Raises ``ComposeFileError``.
    """
    path = folder / ".env"
    try:
        return {**disk.read(path, env), **env, "PWD": str(folder.resolve())}
    except EnvFileError as error:
        raise ComposeFileError(error.args[0].partition(": ")[2], (str(path), error.line)) from None
    except OSError as error:
        raise ComposeFileError(f"{path}: {error.strerror}") from None


def compose_files(folder: Path, env: Mapping[str, str]) -> list[Path]:
    """The files that Compose would read in a folder: ``COMPOSE_FILE``, else the default names.

    Raises ``ComposeFileError`` if there are none.
    """
    if named := env.get("COMPOSE_FILE"):
        return [folder / one for one in named.split(env.get("COMPOSE_PATH_SEPARATOR") or os.pathsep)]
    for name in COMPOSE_NAMES:
        if (found := folder / name).is_file():
            override = found.with_name(f"{found.stem.removesuffix('.override')}.override{found.suffix}")
            return [found, override] if override.is_file() else [found]
    raise ComposeFileError(f"{folder} contains no Compose file ({', '.join(COMPOSE_NAMES)}); name one")


def read_project(files: list[Path], env: Mapping[str, str]) -> ComposeReading:
    """Read files as Compose would in the folder of the first one; ``env`` is the process's environment.

    Works without ``.env``: required variables that are not set get a placeholder. Raises
    ``ComposeFileError``.
    """
    folder = files[0].resolve().parent
    filled = stack_environment(folder, env)
    written = compose_file.read(files, filled)
    missing = {name for file in files for name in required(file.read_text(encoding="utf-8"))}
    placeholders = {name: PLACEHOLDER for name in missing if not filled.get(name)}
    name = filled.get("COMPOSE_PROJECT_NAME") or folder.name
    compose = find_compose(env)
    if compose:
        data = _ask(compose, files, folder, {**env, **placeholders})
        order = list(written.data["services"])
        data["services"] = dict(sorted(data["services"].items(), key=lambda item: order.index(item[0])))
        read_by = f"Compose {compose.version}"
    else:
        data = written.filled({**filled, **placeholders}).data
        read_by = "hotseat"
    return ComposeReading(project=from_data(data, name), written=written, files=tuple(files), read_by=read_by)


def _ask(compose: ComposeCommand, files: list[Path], folder: Path, env: Mapping[str, str]) -> dict[str, Any]:
    words = [word for file in files for word in ("-f", str(file.resolve()))]
    try:
        done = subprocess.run(
            [*compose.words, *words, "--profile", "*", "config", "--format", "json"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            cwd=folder,
            env={**env, "PWD": str(folder)},
        )
    except subprocess.TimeoutExpired:
        raise ComposeFileError(f"Compose did not answer within {_TIMEOUT_S} s") from None
    if done.returncode:
        # Compose's message may contain values of variables, but not of those that hold secrets.
        raise ComposeFileError(
            f"Compose rejected the files: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        )
    data: dict[str, Any] = json.loads(done.stdout)
    return data
