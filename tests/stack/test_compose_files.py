"""The Compose files of the stack keep the promises that their users rely on."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fakes.compose_binary import compose_binary
from hotseat import config
from hotseat.runtimes.docker.spec import DockerSpec

ROOT = Path(__file__).resolve().parents[2]
MODELS = {"coder3b": "coder3b", "sitechat": "chat", "qwen7b-bnb4": "qwen7b"}
"""Containers and their profiles."""


def ask(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [compose_binary(), *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def resolved(folder: Path, *words: str, **env: str) -> dict[str, Any]:
    done = ask(folder, *words, "config", "--format", "json", **{"VLLM_API_KEY": "k", **env})
    assert done.returncode == 0, done.stderr
    data: dict[str, Any] = json.loads(done.stdout)
    return data


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return resolved(ROOT / "deploy" / "compose", "--profile", "*")


@pytest.mark.parametrize("profile", [*MODELS.values(), "launcher"])
def test_each_profile_is_whole_alone(profile: str, stack_folder: Path) -> None:
    services = resolved(stack_folder, "--profile", profile)["services"]
    container = {**{value: key for key, value in MODELS.items()}, "launcher": "launcher"}[profile]
    assert list(services) == [container]


def test_all_profiles_together_have_the_pinned_names(whole: dict[str, Any]) -> None:
    names = {name: service["container_name"] for name, service in whole["services"].items()}
    assert names == {name: name for name in [*MODELS, "launcher"]}
    assert whole["name"] == "llm"


def test_nothing_starts_without_a_profile(stack_folder: Path) -> None:
    assert resolved(stack_folder).get("services", {}) == {}


def test_the_launcher_alone_publishes_a_port(whole: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in whole["services"].items() if "ports" in service}
    assert list(published) == ["launcher"]
    (port,) = published["launcher"]
    assert (port["published"], port["target"]) == ("8000", 8000)


def test_models_are_reached_by_the_launcher_alone(whole: dict[str, Any]) -> None:
    assert whole["networks"]["models"]["internal"] is True
    on_it = {name for name, service in whole["services"].items() if "models" in service["networks"]}
    assert on_it == {*MODELS, "launcher"}
    assert all(list(whole["services"][name]["networks"]) == ["models"] for name in MODELS)


FLAGS = {
    "coder3b": "Qwen/Qwen2.5-Coder-3B-Instruct "
    "--gpu-memory-utilization 0.90 --max-model-len 8192 --max-num-seqs 8",
    "sitechat": "microsoft/Phi-3.5-mini-instruct "
    "--gpu-memory-utilization 0.18 --max-model-len 8192 --max-num-seqs 4",
    "qwen7b-bnb4": "Qwen/Qwen2.5-7B-Instruct --quantization bitsandbytes --gpu-memory-utilization 0.90 "
    "--max-model-len 4096 --max-num-seqs 6",
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_owners_flags(name: str, whole: dict[str, Any]) -> None:
    service = whole["services"][name]
    command = service["command"]
    start = command.index("--served-model-name")
    model, served = command[0], command[start + 1 : start + 3]
    assert served == [name, model]
    assert [*command[:start], *command[start + 3 :]] == FLAGS[name].split()
    assert service["restart"] == "no"
    assert service["init"] is True
    assert int(service["shm_size"]) >= 2**30
    assert service["stop_grace_period"] == "30s"
    assert service["healthcheck"]["start_period"] == "10m0s"
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
    mounts = {one["target"]: one for one in service["volumes"]}
    assert mounts["/cache"]["source"] == "/srv/llm/.cache"
    assert mounts["/cache"]["read_only"] is True
    assert mounts["/cache/vllm"]["source"] == "/srv/llm/.cache/vllm"
    assert service["environment"]["HF_HUB_OFFLINE"] == "1"


def test_sitechats_share_is_a_variable(stack_folder: Path) -> None:
    services = resolved(stack_folder, "--profile", "chat", SITECHAT_GPU_UTIL="0.49")["services"]
    command = services["sitechat"]["command"]
    assert command[command.index("--gpu-memory-utilization") + 1] == "0.49"


def test_a_rotated_key_changes_no_container(stack_folder: Path) -> None:
    first = resolved(stack_folder, "--profile", "*", VLLM_API_KEY="one", UPSTREAM_API_KEY="up")
    second = resolved(stack_folder, "--profile", "*", VLLM_API_KEY="two", UPSTREAM_API_KEY="up")
    assert first == second
    assert first["services"]["sitechat"]["environment"]["VLLM_API_KEY"] == "up"


def test_one_key_serves_both_where_there_is_no_other(stack_folder: Path) -> None:
    services = resolved(stack_folder, "--profile", "*", VLLM_API_KEY="one")["services"]
    assert {services[name]["environment"]["VLLM_API_KEY"] for name in MODELS} == {"one"}


def test_without_a_key_compose_says_what_to_do(stack_folder: Path) -> None:
    done = ask(stack_folder, "--profile", "launcher", "config", "-q")
    assert done.returncode != 0
    assert "run hotseat init" in done.stderr


def test_the_launcher_sees_this_folder_where_the_host_has_it(stack_folder: Path) -> None:
    launcher = resolved(stack_folder, "--profile", "launcher")["services"]["launcher"]
    mounts = {one["target"]: one for one in launcher["volumes"]}
    assert mounts[str(stack_folder)]["source"] == str(stack_folder)
    assert mounts[str(stack_folder)]["read_only"] is True
    assert launcher["working_dir"] == str(stack_folder)
    assert launcher["environment"]["HOTSEAT_CONFIG"] == f"{stack_folder}/hotseat.yaml"
    assert launcher["environment"]["HOTSEAT_ENV_FILE"] == f"{stack_folder}/.env"
    assert mounts["/var/run/docker.sock"]["source"] == "/var/run/docker.sock"
    assert launcher["init"] is True
    assert launcher["ulimits"]["nofile"] == 65536


def test_a_public_site_has_no_plain_socket_in_the_launcher(stack_folder: Path) -> None:
    files = ["-f", "docker-compose.yml", "-f", "docker-compose.public.yml"]
    data = resolved(stack_folder, *files, "--profile", "*")
    launcher, proxy = data["services"]["launcher"], data["services"]["socket-proxy"]
    assert "/var/run/docker.sock" not in {one["target"] for one in launcher["volumes"]}
    assert launcher["environment"]["DOCKER_HOST"] == "tcp://socket-proxy:2375"
    assert not launcher.get("group_add")
    assert list(proxy["networks"]) == ["engine"]
    assert data["networks"]["engine"]["internal"] is True
    assert not proxy.get("ports")
    # Models are the same with and without it: nothing is made anew.
    plain = resolved(stack_folder, "--profile", "*")["services"]
    assert {name: data["services"][name] for name in MODELS} == {name: plain[name] for name in MODELS}


def test_a_launcher_that_downloads_sees_the_cache_at_its_own_path(stack_folder: Path) -> None:
    files = ["-f", "docker-compose.yml", "-f", "docker-compose.seed.yml"]
    data = resolved(stack_folder, *files, "--profile", "*")
    launcher = data["services"]["launcher"]
    cache = data["services"]["coder3b"]["volumes"][0]["source"]
    mounted = next(one for one in launcher["volumes"] if one["source"] == cache)
    assert mounted["target"] == cache
    assert not mounted.get("read_only")
    assert launcher["environment"]["HOTSEAT_SEED"] == "auto"
    plain = resolved(stack_folder, "--profile", "*")["services"]
    assert {name: data["services"][name] for name in MODELS} == {name: plain[name] for name in MODELS}


def test_the_overlay_can_be_chosen_in_env(stack_folder: Path) -> None:
    line = next(
        line
        for line in (stack_folder / ".env.example").read_text(encoding="utf-8").splitlines()
        if line.startswith("#COMPOSE_FILE=")
    )
    (stack_folder / ".env").write_text(f"{line[1:]}\nVLLM_API_KEY=k\n", encoding="utf-8")
    assert set(resolved(stack_folder, "--profile", "launcher")["services"]) == {"launcher", "socket-proxy"}


def test_the_configuration_names_these_containers(stack_folder: Path) -> None:
    launcher = resolved(stack_folder, "--profile", "launcher")["services"]["launcher"]
    (stack_folder / ".env").write_text("VLLM_API_KEY=k\n", encoding="utf-8")
    settings = config.load(None, launcher["environment"])
    launches = {name: model.launch for name, model in settings.models.items()}
    found = {}
    for name, launch in launches.items():
        assert isinstance(launch, DockerSpec)
        assert launch.compose is not None
        assert launch.compose.file == str(stack_folder / "docker-compose.yml")
        found[name] = (launch.container, launch.compose.profiles)
    assert found == {
        "chat": ("sitechat", ("chat",)),
        "coder": ("coder3b", ("coder3b",)),
        "qwen7b": ("qwen7b-bnb4", ("qwen7b",)),
    }
    assert settings.serve.default_route == "chat"
    assert dict(settings.scheduler.budget) == {"0": 900_000}
    assert {seat.idle_s for seat in settings.scheduler.models.values()} == {1800.0}
    assert {seat.start_timeout_s for seat in settings.scheduler.models.values()} == {300.0}
