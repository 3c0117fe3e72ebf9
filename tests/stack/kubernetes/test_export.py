"""``hotseat export kubernetes``: valid for the latest Kubernetes, complete, and without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner, Result

from hotseat.cli import main
from hotseat.config import load

CONFIG = """\
default_model: chat
models:
  chat:
    command: >-
      /opt/venv/bin/vllm serve Qwen/Qwen2.5-3B --port {port} --gpu-memory-utilization 0.5
      --tensor-parallel-size 2 --served-model-name chat --api-key s3cret-of-chat
    env: {HF_TOKEN: hf_secret, VLLM_NO_USAGE_STATS: "1"}
    upstream_key: s3cret-of-chat
    idle: 5m
    aliases: [gpt-4o]
  coder:
    command: vllm serve coder --port={port} --gpu-memory-utilization=0.4
    pinned: true
"""
COMPOSE = """\
services:
  server:
    image: vllm/vllm-openai:v0.33.0
    container_name: phi
    command: [microsoft/phi, --port, "9000"]
    environment: {VLLM_API_KEY: "${UPSTREAM_API_KEY:-none}", HF_HUB_OFFLINE: "1"}
"""


def export(folder: Path, text: str, *words: str, env: dict[str, str] | None = None) -> Result:
    (folder / "hotseat.yaml").write_text(text)
    given = ["export", "kubernetes", "-c", str(folder / "hotseat.yaml"), "-o", str(folder / "out"), *words]
    return CliRunner().invoke(main, given, env=env, catch_exceptions=False)


def objects(folder: Path) -> dict[str, dict[str, Any]]:
    """By kind and name."""
    found = {}
    for file in sorted((folder / "out").glob("*.yaml")):
        if file.name not in ("hotseat.yaml", "kustomization.yaml"):
            for one in yaml.safe_load_all(file.read_text()):
                found[f"{one['kind']}/{one['metadata']['name']}"] = one
    return found


@pytest.fixture
def exported(tmp_path: Path) -> dict[str, dict[str, Any]]:
    done = export(tmp_path, CONFIG, "--gpus", "4", "--service-monitor")
    assert done.exit_code == 0, done.output
    return objects(tmp_path)


def test_every_object_is_valid_for_the_latest_kubernetes(exported: dict[str, dict[str, Any]]) -> None:
    checked = set()
    for one in exported.values():
        if one["apiVersion"] != "monitoring.coreos.com/v1":  # not of Kubernetes itself
            kubernetes_validate.validate(one, "1.37", strict=True)
            checked.add(one["kind"])
    assert checked == {
        "Deployment", "Service", "PersistentVolumeClaim", "ServiceAccount", "Role", "RoleBinding",
        "NetworkPolicy", "PodDisruptionBudget",
    }  # fmt: skip


def test_the_check_of_schemas_finds_a_wrong_field(exported: dict[str, dict[str, Any]]) -> None:
    broken = exported["Deployment/chat"]
    broken["spec"]["template"]["spec"]["containers"][0]["comand"] = ["typo"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.37", strict=True)


def test_the_base_lists_every_file(exported: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    base = yaml.safe_load((tmp_path / "out" / "kustomization.yaml").read_text())
    written = {file.name for file in (tmp_path / "out").iterdir()} - {"kustomization.yaml", "hotseat.yaml"}
    assert set(base["resources"]) == written
    assert base["configMapGenerator"] == [{"name": "hotseat-config", "files": ["hotseat.yaml"]}]


def test_a_model_asks_for_as_many_whole_gpus_as_its_command_uses(exported: dict[str, dict[str, Any]]) -> None:
    def gpus(name: str) -> str:
        (container,) = exported[f"Deployment/{name}"]["spec"]["template"]["spec"]["containers"]
        return str(container["resources"]["limits"]["nvidia.com/gpu"])

    assert gpus("chat") == "2"
    assert gpus("coder") == "1"


def test_the_configuration_stays_valid_with_the_same_names(
    exported: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    settings = load(tmp_path / "out" / "hotseat.yaml", {"CHAT_UPSTREAM_KEY": "k"})
    assert {model.runtime for model in settings.models.values()} == {"kubernetes"}
    assert settings.scheduler.budget == {"gpus": 4_000_000}
    chat = settings.models["chat"]
    assert chat.scheduling.footprint == {"gpus": 2_000_000}
    assert chat.engine == "vllm"
    assert chat.scheduling.idle_s == 300
    assert settings.models["coder"].scheduling.pinned
    assert settings.serve.leave_running
    assert settings.serve.default_route == "chat"


def test_no_file_holds_a_secret(exported: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    for file in (tmp_path / "out").iterdir():
        assert "s3cret-of-chat" not in file.read_text(), file
        assert "hf_secret" not in file.read_text(), file
    (container,) = exported["Deployment/chat"]["spec"]["template"]["spec"]["containers"]
    env = {one["name"]: one.get("valueFrom", one.get("value")) for one in container["env"]}
    assert env["HF_TOKEN"] == {"secretKeyRef": {"name": "hotseat-env", "key": "HF_TOKEN"}}
    assert env["VLLM_NO_USAGE_STATS"] == "1"
    assert container["args"][-2:] == ["--api-key", "$(CHAT_UPSTREAM_KEY)"]


def test_a_secret_of_the_environment_keeps_its_name(tmp_path: Path) -> None:
    text = CONFIG.replace("upstream_key: s3cret-of-chat", "upstream_key: ${UPSTREAM_API_KEY}")
    done = export(tmp_path, text, "--gpus", "4", env={"UPSTREAM_API_KEY": "s3cret-of-chat"})
    assert done.exit_code == 0, done.output
    assert "CHAT_UPSTREAM_KEY" not in done.output
    (container,) = objects(tmp_path)["Deployment/chat"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][-1] == "$(UPSTREAM_API_KEY)"


def test_the_launcher_may_touch_its_own_workloads_alone(exported: dict[str, dict[str, Any]]) -> None:
    rules = exported["Role/hotseat"]["rules"]
    (deployments,) = [rule for rule in rules if "deployments" in rule["resources"]]
    assert deployments["resourceNames"] == ["chat", "coder"]
    assert deployments["verbs"] == ["get", "patch"]
    assert not any("*" in rule["verbs"] + rule["resources"] for rule in rules)
    assert not any("secrets" in rule["resources"] for rule in rules)


def test_containers_come_from_their_compose_service(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text(COMPOSE)
    text = "models: {phi: {container: phi, compose: docker-compose.yml, engine: vllm}}"
    done = export(tmp_path, text, env={"UPSTREAM_API_KEY": "key-of-models"})
    assert done.exit_code == 0, done.output
    (container,) = objects(tmp_path)["Deployment/phi"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "vllm/vllm-openai:v0.33.0"
    assert container["ports"] == [{"name": "http", "containerPort": 9000}]
    assert container["args"] == ["microsoft/phi", "--port", "9000"]
    env = {one["name"]: one.get("valueFrom", one.get("value")) for one in container["env"]}
    assert env["VLLM_API_KEY"] == {"secretKeyRef": {"name": "hotseat-env", "key": "UPSTREAM_API_KEY"}}


def test_a_container_that_only_docker_knows_is_refused_with_what_to_do(tmp_path: Path) -> None:
    done = export(tmp_path, "models: {phi: {container: phi}}")
    assert done.exit_code == 1
    assert "models.phi: only the Docker Engine knows how container phi is made" in done.output
    assert "compose: docker-compose.yml" in done.output


def test_a_workload_that_exists_is_not_written_again(tmp_path: Path) -> None:
    done = export(tmp_path, "models: {chat: {workload: statefulset/llm}}")
    assert done.exit_code == 0, done.output
    found = objects(tmp_path)
    assert "Deployment/chat" not in found
    (rule,) = [rule for rule in found["Role/hotseat"]["rules"] if "statefulsets" in rule["resources"]]
    assert rule["resources"] == ["statefulsets", "statefulsets/scale"]
    assert rule["resourceNames"] == ["llm"]


def test_too_few_gpus_are_refused(tmp_path: Path) -> None:
    done = export(tmp_path, CONFIG, "--gpus", "1")
    assert done.exit_code == 2
    assert "the largest model needs 2" in done.output
