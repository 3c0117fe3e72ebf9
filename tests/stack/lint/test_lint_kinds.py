"""``lint`` on what people write: policies of deploy, CDI devices, /dev/shm, other servers than vLLM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hotseat.stack.compose.reading import read_project
from hotseat.stack.lint import lint
from hotseat.stack.lint.findings import LintedStack

VLLM: dict[str, Any] = {
    "image": "vllm/vllm-openai:v0.33.0",
    "container_name": "mm",
    "profiles": ["m"],
    "command": ["--model", "a/b"],
    "volumes": ["/c:/root/.cache"],
    "shm_size": "2gb",
    "gpus": "all",
}


def rules(folder: Path, env: dict[str, str], **changes: Any) -> dict[str, str]:
    """The findings about one service, by rule."""
    service = {name: value for name, value in {**VLLM, **changes}.items() if value is not None}
    file = folder / "docker-compose.yml"
    file.write_text(json.dumps({"services": {"m": service}}))
    reading = read_project([file], env)
    stack = LintedStack(project=reading.project, written=reading.written, settings=None)
    return {one.rule: one.message for one in lint(stack, str(file)) if one.service == "m"}


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        ({"condition": "any"}, True),
        ({"condition": "on-failure", "max_attempts": 3}, True),
        ({}, None),
        ({"condition": "none"}, False),
    ],
)
def test_a_restart_policy_of_deploy_counts(
    policy: dict[str, Any], found: bool | None, tmp_path: Path, reader_env: dict[str, str]
) -> None:
    told = rules(tmp_path, reader_env, deploy={"restart_policy": policy})
    if found is not None:
        assert ("restart" in told) is found
    if found:
        assert told["restart"].startswith("deploy.restart_policy")


def test_restart_itself_is_stronger(tmp_path: Path, reader_env: dict[str, str]) -> None:
    policy = {"restart_policy": {"condition": "any"}}
    assert "restart" not in rules(tmp_path, reader_env, restart="no", deploy=policy)


@pytest.mark.parametrize(
    "given",
    [
        {"devices": ["nvidia.com/gpu=all"]},
        {"devices": ["nvidia.com/gpu=GPU-1234"]},
        {"devices": ["/dev/kfd:/dev/kfd", "/dev/dri:/dev/dri"]},
        {"runtime": "nvidia"},
        {
            "deploy": {
                "resources": {
                    "reservations": {
                        "devices": [
                            {"driver": "cdi", "device_ids": ["nvidia.com/gpu=0"], "capabilities": ["gpu"]}
                        ]
                    }
                }
            }
        },
    ],
)
def test_a_gpu_given_in_any_way_is_seen(
    given: dict[str, Any], tmp_path: Path, reader_env: dict[str, str]
) -> None:
    assert "gpu" not in rules(tmp_path, reader_env, gpus=None, **given)
    assert "gpu" in rules(tmp_path, reader_env, gpus=None)


@pytest.mark.parametrize(
    ("given", "enough"),
    [
        ({"tmpfs": "/dev/shm:size=2g"}, True),
        ({"tmpfs": ["/tmp", "/dev/shm"]}, True),
        ({"tmpfs": ["/dev/shm:size=64m"]}, False),
        ({"volumes": ["/c:/root/.cache", "/dev/shm:/dev/shm"]}, True),
        (
            {
                "volumes": [
                    "/c:/root/.cache",
                    {"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": 2**31}},
                ]
            },
            True,
        ),
        ({"ipc": "host"}, True),
        ({"ipc": "private"}, False),
        ({"shm_size": "64m"}, False),
        ({"shm_size": "8g"}, True),
        ({}, False),
    ],
)
def test_shared_memory_given_in_any_way_is_seen(
    given: dict[str, Any], enough: bool, tmp_path: Path, reader_env: dict[str, str]
) -> None:
    told = rules(tmp_path, reader_env, **{"shm_size": None, **given})
    assert ("shared-memory" not in told) is enough


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        (
            {"image": "ghcr.io/ggml-org/llama.cpp:server-cuda-b6000", "command": ["-m", "/models/x.gguf"]},
            set(),
        ),
        (
            {"image": "ghcr.io/ggml-org/llama.cpp:server-cuda-b6000", "command": ["-hf", "a/b"]},
            {"weights-cache"},
        ),
        (
            {
                "image": "ghcr.io/ggml-org/llama.cpp:server-b6000",
                "command": ["-hf", "a/b"],
                "volumes": ["/c:/root/.cache/llama.cpp"],
                "gpus": None,
            },
            set(),
        ),
        ({"image": "ollama/ollama:0.12.0", "command": None, "volumes": ["/o:/root/.ollama"]}, set()),
        ({"image": "ollama/ollama:0.12.0", "command": None}, {"weights-cache"}),
        ({"image": "lmsysorg/sglang:v0.5.0", "volumes": ["/c:/root/.cache"]}, {"shared-memory"}),
        (
            {
                "image": "ghcr.io/huggingface/text-generation-inference:3.3",
                "command": ["--model-id", "a/b"],
                "volumes": ["/c:/data"],
                "shm_size": "1g",
            },
            set(),
        ),
        (
            {
                "image": "me/own:1.0",
                "command": ["vllm", "serve", "a/b"],
                "volumes": ["/c:/root/.cache/huggingface"],
            },
            {"shared-memory"},
        ),
        ({"image": "me/own:1.0", "command": ["serve"], "volumes": None}, set()),
    ],
)
def test_other_servers_are_held_to_what_they_need(
    changes: dict[str, Any], wanted: set[str], tmp_path: Path, reader_env: dict[str, str]
) -> None:
    told = rules(tmp_path, reader_env, **{"volumes": None, "shm_size": None, **changes})
    assert set(told) & {"weights-cache", "shared-memory", "gpu", "restart"} == wanted
