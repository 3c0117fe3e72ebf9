"""A copy of the stack to break, and an environment with or without Compose."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.compose_binary import folder_with_compose
from fakes.dockerd import Dockerd
from fakes.stack import Stack, add_images, laid_out, nvidia_hook

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


@pytest.fixture(scope="session")
def gpu_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    """A Docker Engine that believes in a GPU, with the stack's images."""
    tools = tmp_path_factory.mktemp("nvidia")
    nvidia_hook(tools)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        with Dockerd() as dockerd:
            add_images(dockerd)
            yield dockerd


@pytest.fixture(scope="module")
def stack(gpu_engine: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The launcher up, no model hot."""
    with laid_out(gpu_engine, tmp_path_factory.mktemp("srv") / "llm") as stack:
        stack.shell("docker compose up -d launcher")
        stack.until("the launcher is healthy", stack.healthy)
        yield stack
