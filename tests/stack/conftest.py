"""A copy of the stack to break, and an environment with or without Compose."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fakes.compose_binary import folder_with_compose

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stack_folder(tmp_path: Path) -> Path:
    """A copy of ``deploy/compose``, without a ``.env``."""
    folder = tmp_path / "llm"
    shutil.copytree(ROOT / "deploy" / "compose", folder, ignore=shutil.ignore_patterns(".env"))
    return folder


@pytest.fixture
def with_compose(tmp_path: Path) -> dict[str, str]:
    """An environment in which Compose is at hand."""
    return {"PATH": str(folder_with_compose(tmp_path / "compose-bin")), "HOME": str(tmp_path)}


@pytest.fixture
def without_compose(tmp_path: Path) -> dict[str, str]:
    """An environment in which it is not."""
    empty = tmp_path / "empty-bin"
    empty.mkdir()
    return {"PATH": str(empty), "HOME": str(tmp_path)}


@pytest.fixture(params=["compose", "own"])
def reader_env(request: pytest.FixtureRequest) -> dict[str, str]:
    """Both ways of reading a project."""
    env: dict[str, str] = request.getfixturevalue(
        "with_compose" if request.param == "compose" else "without_compose"
    )
    assert "COMPOSE_FILE" not in os.environ
    return env
