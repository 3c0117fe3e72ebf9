"""``hotseat lint`` of a Kustomize base: clean as it was exported, and one finding for each mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from hotseat.cli import main

CONFIG = """\
models:
  chat:
    command: vllm serve chat --port {port}
    upstream_key: secret-of-chat
  coder: {command: "vllm serve coder --port {port}"}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "hotseat.yaml").write_text(CONFIG)
    words = ["export", "kubernetes", "-c", str(tmp_path / "hotseat.yaml"), "-o", str(tmp_path / "k8s")]
    done = CliRunner().invoke(main, [*words, "--gpus", "4"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return tmp_path / "k8s"


def lint(base: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    done = CliRunner().invoke(main, ["lint", str(base), "--json", *words], catch_exceptions=False)
    return done.exit_code, json.loads(done.stdout)["findings"]


def change(file: Path, edit: Callable[[list[dict[str, Any]]], None]) -> None:
    objects = list(yaml.safe_load_all(file.read_text()))
    edit(objects)
    file.write_text(yaml.safe_dump_all(objects))


def test_what_was_exported_is_clean(base: Path) -> None:
    assert lint(base, "--strict") == (0, [])


def pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = objects[0]["spec"]["template"]["spec"]
    return found


def broken_config(base: Path, **values: Any) -> None:
    file = base / "hotseat.yaml"
    config = yaml.safe_load(file.read_text())
    for name, value in values.items():
        if value is None:
            del config[name]
        else:
            config[name] = value
    file.write_text(yaml.safe_dump(config))


def _probe(base: Path) -> None:
    change(
        base / "model-chat.yaml",
        lambda found: pod(found)["containers"][0].update(livenessProbe={"httpGet": {"path": "/", "port": 1}}),
    )


def _short_grace(base: Path) -> None:
    change(base / "model-chat.yaml", lambda found: pod(found).update(terminationGracePeriodSeconds=5))
    broken_config(base, stop_grace="20s")


def _rolled(base: Path) -> None:
    change(base / "model-chat.yaml", lambda found: found[0]["spec"].pop("strategy"))


def _links(base: Path) -> None:
    change(base / "model-chat.yaml", lambda found: pod(found).pop("enableServiceLinks"))


def _more_gpus(base: Path) -> None:
    limits = {"limits": {"nvidia.com/gpu": "2"}}
    change(base / "model-chat.yaml", lambda found: pod(found)["containers"][0].update(resources=limits))


def _no_rights(base: Path) -> None:
    change(base / "rbac.yaml", lambda found: found[1]["rules"][-1].update(resourceNames=["coder"]))


def _no_lease(base: Path) -> None:
    broken_config(base, lease=None)


def _short_drain(base: Path) -> None:
    change(base / "launcher.yaml", lambda found: pod(found).update(terminationGracePeriodSeconds=10))


def _sleeps(base: Path) -> None:
    broken_config(base, sleep=1)


@pytest.mark.parametrize(
    ("mistake", "rule", "words"),
    [
        (lambda base: (base / "model-chat.yaml").unlink(), "k8s-workload", "deployment/chat is not among"),
        (_no_rights, "k8s-rights", "get and patch deployments chat"),
        (_no_lease, "k8s-launchers", "without a lease"),
        (_short_grace, "k8s-grace", "killed after 5 s"),
        (_short_drain, "k8s-drain", "before its drain_timeout of 60 s"),
        (_more_gpus, "k8s-gpus", "asks for 2 GPUs, and its footprint counts 1"),
        (_probe, "k8s-liveness", "kills it while it loads"),
        (_links, "k8s-service-links", "VLLM_PORT"),
        (_rolled, "k8s-strategy", "needs its GPUs twice"),
        (_sleeps, "k8s-sleep", "keeps its GPUs"),
    ],
)
def test_a_mistake_is_found_with_its_place(
    base: Path, mistake: Callable[[Path], object], rule: str, words: str
) -> None:
    mistake(base)
    _, found = lint(base)
    mine = [one for one in found if one["rule"] == rule]
    assert mine, found
    assert words in mine[0]["message"]
    assert mine[0]["fix"]
    assert {one["rule"] for one in found} == {rule}


def test_a_file_that_is_no_yaml_is_named(base: Path) -> None:
    (base / "rbac.yaml").write_text("kind: [")
    done = CliRunner().invoke(main, ["lint", str(base)], catch_exceptions=False)
    assert done.exit_code == 2
    assert "rbac.yaml cannot be read" in done.output
