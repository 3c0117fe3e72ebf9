"""Command blocks of the README and of the tutorial are typed, word for word, into a shell.

The shell runs in namespaces of its own, with stand-ins for model servers, images and a hub
(``fakes/typist.py`` lists them). The stack itself runs on a real Engine in ``tests/stack``.
"""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.typist import blocks

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ("pyproject.toml", "README.md", "LICENSE", "Makefile", "Dockerfile", "src", "deploy", "scripts")
LIMIT_S = 600

pytestmark = pytest.mark.system("unshare", "ip", "mount", "make", "curl", "bash")


@dataclass(frozen=True)
class Typed:
    """Result of one command block."""

    block: str
    output: str
    failed: list[str]
    """Commands of the block with an exit status other than 0."""


def typed(page: Path, folder: Path) -> list[Typed]:
    """Type all command blocks of a page; returns their results, in order."""
    project, home = folder / "project", folder / "home"
    project.mkdir()
    home.mkdir()
    for name in PROJECT:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".env")
            shutil.copytree(source, project / name, ignore=ignored)
        else:
            shutil.copy(source, project)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    [packages] = (folder / "venv" / "lib").glob("python*/site-packages")
    # The dependencies of hotseat, but not hotseat itself: the page installs it.
    (packages / "theirs.pth").write_text(f"{site.getsitepackages()[0]}\n")
    pip = folder / "venv" / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{folder}/venv/bin/python" -m pip "$@"\n')
    pip.chmod(0o755)
    out = folder / "typed.json"
    alone = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        alone.insert(1, "--map-root-user")
    words = [sys.executable, ROOT / "tests" / "fakes" / "typist.py", page, home, project, out]
    env = {**os.environ, "VENV": str(folder / "venv")}
    env["PATH"] = f"{folder / 'venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    done = subprocess.run(
        [*alone, *map(str, words)], env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [Typed(**one) for one in json.loads(out.read_text())]


def of(found: list[Typed], words: str) -> Typed:
    [one] = [one for one in found if words in one.block]
    return one


def check(
    found: list[Typed], page: Path, expected: Mapping[str, list[str]], may_fail: tuple[str, ...] = ()
) -> None:
    """Assert that every block has an expectation and met it."""
    assert [one.block for one in found] == blocks(page.read_text())
    for one in found:
        assert len([words for words in expected if words in one.block]) == 1, one.block
    for words, outputs in expected.items():
        one = of(found, words)
        assert set(one.failed) <= set(may_fail), one
        for output in outputs:
            assert output in one.output, one


def test_the_readme(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    expected = {
        "make demo": ["demo/show.py", "pytest -n auto"],
        "pip install .": ["Successfully installed hotseat"],
        "hotseat serve": ["is valid. hotseat will listen on 127.0.0.1:8000", "vllm"],
        "chat/completions": ['data: {"id"', "data: [DONE]", "coder  ready"],
        "hotseat logs": ['"status":"ok"', '"spin_up_s"', "coder: ", "Starting vLLM server"],
    }
    found = typed(page, tmp_path)
    check(found, page, expected)
    assert "chat   stopped" in of(found, "chat/completions").output  # only the requested model was started


def test_the_tutorial(tmp_path: Path) -> None:
    page = ROOT / "docs" / "tutorial.md"
    stack = [".env written, mode 600", "0 errors, 0 warnings", "weights: not in the cache"]
    expected = {
        "hotseat doctor": stack,
        "docker build": ["Successfully installed hotseat", "naming to hotseat:0.1.0"],
        "hotseat seed": ["Qwen/Qwen2.5-Coder-3B-Instruct"],
        "docker compose up": [],
        "hotseat check": ["ok      chat"],
        "curl -N": ['data: {"id"', "data: [DONE]"],
        "hotseat status": ["chat   ready", "Starting vLLM server"],
    }
    # As the page says, the weights are missing; Docker and a GPU are missing here too.
    check(typed(page, tmp_path), page, expected, may_fail=("hotseat doctor",))
