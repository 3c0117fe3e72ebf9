"""Compose files read by us mean what Compose makes of them, and errors say where."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotseat.stack.compose import compose_file
from hotseat.stack.compose.compose_file import ComposeFileError
from hotseat.stack.compose.model import ComposeModel
from hotseat.stack.compose.reading import compose_files, find_compose, read_project, stack_environment

BASE = """\
x-common: &common
  image: busybox:${TAG:-1.36}
  environment: [A=1, B=two]
services:
  base:
    <<: *common
    container_name: base
    profiles: [p]
    volumes: [./data:/data, cache:/cache]
    command: one "two three"
    ports: ["8000:80", "127.0.0.1:9000:90/tcp"]
    networks: {back: {}}
  child:
    extends: base
    container_name: child
    environment: {B: "${WORD}", C: "3"}
    ports: ["8001:80"]
  other:
    extends: {file: more.yml, service: far}
    network_mode: host
networks:
  back: {internal: true}
volumes:
  cache: {}
"""
MORE = (
    "services:\n  far:\n    image: far:1\n    container_name: far\n    shm_size: 1gb\n    restart: always\n"
)
OVERLAY = """\
services:
  base:
    command: [four]
    environment: {A: "9"}
    volumes: [./elsewhere:/data]
    ports: !override ["7000:80"]
  child:
    networks: !reset null
  new:
    image: new:1
    gpus: all
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "compose.yaml").write_text(BASE, encoding="utf-8")
    (folder / "more.yml").write_text(MORE, encoding="utf-8")
    (folder / "compose.override.yaml").write_text(OVERLAY, encoding="utf-8")
    (folder / ".env").write_text("WORD=hello\n", encoding="utf-8")
    return folder


def read(folder: Path, env: dict[str, str]) -> ComposeModel:
    return read_project(compose_files(folder, stack_environment(folder, env)), env).project


def test_a_project_is_read_with_all_that_compose_knows(folder: Path, reader_env: dict[str, str]) -> None:
    project = read(folder, reader_env)
    base, child, other = (project.services[name] for name in ("base", "child", "other"))
    assert list(project.services) == ["base", "child", "other", "new"]
    assert (base.image, base.container, base.profiles) == ("busybox:1.36", "base", ("p",))
    assert base.command == ("four",)
    assert base.environment == {"A": "9", "B": "two"}
    assert base.published == ("7000",)
    assert {mount.target: Path(mount.source).name for mount in base.mounts} == {
        "/data": "elsewhere",
        "/cache": "cache",
    }
    assert child.environment == {"A": "1", "B": "hello", "C": "3"}
    assert child.command == ("one", "two three")
    assert child.container == "child"
    assert set(child.published) == {"8000", "127.0.0.1:9000", "8001"}
    assert child.networks == ("default",)
    assert (other.container, other.restart, other.shared_memory) == ("far", "always", True)
    assert (other.network_mode, other.networks) == ("host", ())
    assert project.services["new"].gpu
    assert project.internal == {"back"}


def test_both_readings_agree_on_our_stack(
    stack_folder: Path, with_compose: dict[str, str], without_compose: dict[str, str]
) -> None:
    theirs, ours = read(stack_folder, with_compose), read(stack_folder, without_compose)
    assert ours.name == theirs.name == "llm"
    assert list(ours.services) == list(theirs.services)
    for name, service in theirs.services.items():
        mine = ours.services[name]
        for field in ("container", "image", "profiles", "command", "published", "networks", "restart", "gpu"):
            assert getattr(mine, field) == getattr(service, field), (name, field)
        assert mine.environment == service.environment, name
        assert {one.target for one in mine.mounts} == {one.target for one in service.mounts}


def test_compose_is_found_as_a_plugin_or_alone_and_only_from_version_two(
    tmp_path: Path, with_compose: dict[str, str]
) -> None:
    found = find_compose(with_compose)
    assert found is not None
    assert found.version.startswith("2.")
    old = tmp_path / "old"
    old.mkdir()
    (old / "docker-compose").write_text("#!/bin/sh\necho 1.29.2\n", encoding="utf-8")
    (old / "docker").write_text("#!/bin/sh\necho 'no such command: compose' >&2\nexit 1\n", encoding="utf-8")
    for name in ("docker", "docker-compose"):
        (old / name).chmod(0o755)
    assert find_compose({"PATH": str(old)}) is None
    (old / "docker").write_text("#!/bin/sh\necho v2.39.1\n", encoding="utf-8")
    plugin = find_compose({"PATH": str(old)})
    assert plugin is not None
    assert plugin.words == (str(old / "docker"), "compose")
    assert plugin.version == "2.39.1"


def test_the_files_of_a_folder(folder: Path) -> None:
    names = [file.name for file in compose_files(folder, {})]
    assert names == ["compose.yaml", "compose.override.yaml"]
    named = compose_files(folder, {"COMPOSE_FILE": "compose.yaml:more.yml"})
    assert [file.name for file in named] == ["compose.yaml", "more.yml"]
    with pytest.raises(ComposeFileError, match="contains no Compose file"):
        compose_files(folder.parent, {})


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("services:\n  a: {image: x\n", "not valid YAML", 3),
        ("image: x\n", "not a Compose file", 1),
        ("include: [x.yml]\nservices: {}\n", "include", 1),
        ("services:\n  a:\n    image: x:${TAG:?which}\n", "which", 3),
        ("services:\n  a:\n    image: x:${TAG\n", "has no }", 3),
        ("services:\n  a:\n    extends: b\n", "extends b, which is not in", 3),
        ("services:\n  a:\n    extends: b\n  b:\n    extends: a\n", "extends itself", 3),
        ("services:\n  a:\n    extends: {file: gone.yml, service: b}\n", "gone.yml", None),
        ("services: &s\n  a: *s\n", "an alias of itself", 1),
    ],
)
def test_a_broken_file_is_named_with_its_line(
    text: str, problem: str, line: int | None, tmp_path: Path
) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ComposeFileError, match=problem.replace("{", "\\{")) as caught:
        compose_file.read([file], {}).filled({})
    if line is not None:
        assert caught.value.where == (str(file), line)


def test_what_compose_refuses_is_told_in_its_words(tmp_path: Path, with_compose: dict[str, str]) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services:\n  a: {image: x, no_such_key: 1}\n", encoding="utf-8")
    with pytest.raises(ComposeFileError, match="no_such_key"):
        read_project([file], with_compose)


def test_a_broken_env_file_is_named_with_its_line(folder: Path, reader_env: dict[str, str]) -> None:
    (folder / ".env").write_text("WORD=hello\nnonsense here\n", encoding="utf-8")
    with pytest.raises(ComposeFileError, match=r"\.env:2: expected NAME=value"):
        read(folder, reader_env)
