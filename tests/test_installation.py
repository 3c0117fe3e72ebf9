"""The command that adds an extra, for every way in which hotseat can have been installed."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hotseat import installation
from hotseat.installation import install_extra, packages_of


class Installed:
    """A distribution with this record of where it came from."""

    def __init__(self, origin: dict[str, Any] | None) -> None:
        self._origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self._origin is None else json.dumps(self._origin)


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    return tmp_path


def came_from(monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any] | None) -> None:
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Installed(origin))


FOLDER = {"url": "file:///home/me/my%20hotseat", "dir_info": {}}


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({**FOLDER, "dir_info": {"editable": True}}, "pip install -e '/home/me/my hotseat[top]'"),
        (FOLDER, "pip install '/home/me/my hotseat[top]'"),
        (
            {"url": "https://example.org/hotseat.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "pip install 'hotseat[top] @ git+https://example.org/hotseat.git@abc'",
        ),
        (
            {"url": "file:///x/hotseat-1-py3-none-any.whl", "archive_info": {}},
            "pip install 'hotseat[top] @ file:///x/hotseat-1-py3-none-any.whl'",
        ),
        (None, "pip install 'hotseat[top]'"),
    ],
)
def test_pip_is_given_the_same_source(
    origin: dict[str, Any] | None, command: str, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came_from(monkeypatch, origin)
    assert install_extra("top") == command


def test_an_environment_that_is_not_active_names_its_python(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came_from(monkeypatch, FOLDER)
    monkeypatch.delenv("VIRTUAL_ENV")
    assert install_extra("top").startswith(f"{sys.executable} -m pip install ")


def test_an_environment_that_uv_made_has_no_pip(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    came_from(monkeypatch, FOLDER)
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda _: None)
    assert install_extra("top").startswith(f"uv pip install --python {sys.executable} ")


@pytest.mark.parametrize(
    ("marker", "command"),
    [("pipx_metadata.json", "pipx install --force"), ("uv-receipt.toml", "uv tool install --force")],
)
def test_tools_install_it_anew(
    marker: str, command: str, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came_from(monkeypatch, FOLDER)
    (prefix / marker).write_text("{}")
    assert install_extra("top") == f"{command} '/home/me/my hotseat[top]'"


def test_in_the_image_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", installation.IMAGE_PREFIX)
    assert install_extra("top") == (
        "in a Dockerfile on top of this image: RUN /opt/hotseat/bin/python -m pip install 'textual>=8'"
    )


def test_the_packages_of_an_extra_are_known() -> None:
    assert packages_of("top") == ["textual>=8"]
    assert len(packages_of("otel")) == 2


def test_the_command_for_this_installation_is_sound() -> None:
    command = install_extra("top")
    assert "[top]" in command
    subprocess.run(["bash", "-n"], input=command, text=True, check=True)
