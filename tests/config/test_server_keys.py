"""A server's own key is sent to it, and hotseat's secrets are kept out of servers' environments."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hotseat.config import loads, secret_values
from hotseat.core.spec import ModelSpec, Settings


def load(model: dict[str, Any], env: dict[str, str] | None = None, **top: Any) -> Settings:
    text = json.dumps({"state_dir": "s", "models": {"m": model}, **top})
    return loads(text, "f", {"HOME": "/h", **(env or {})})


def spec(model: dict[str, Any], env: dict[str, str] | None = None, **top: Any) -> ModelSpec:
    return load(model, env, **top).models["m"]


VLLM = "vllm serve org/m --port {port} "
LLAMA = "llama-server -m x.gguf --port {port} "


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ({"command": VLLM + "--api-key sk-own"}, "sk-own"),
        ({"command": VLLM + "--api-key=sk-own"}, "sk-own"),
        ({"command": VLLM + "--api_key sk-own"}, "sk-own"),
        ({"command": VLLM + "--api-key sk-own sk-second"}, "sk-own"),
        ({"command": VLLM + "--api-key sk-own sk-default"}, "sk-default"),
        ({"command": VLLM + "--api-key sk-own", "env": {"VLLM_API_KEY": "sk-other"}}, "sk-own"),
        ({"command": VLLM, "env": {"VLLM_API_KEY": "sk-own"}}, "sk-own"),
        ({"command": "env VLLM_API_KEY=sk-own " + VLLM}, "sk-own"),
        ({"command": ["bash", "-c", f"exec {VLLM} --api-key sk-own"]}, "sk-own"),
        ({"command": ["bash", "-c", f"VLLM_API_KEY=sk-own exec {VLLM}"]}, "sk-own"),
        ({"command": VLLM + "--api-key ${MINE}"}, "sk-from-env"),
        ({"command": ["bash", "-c", f"exec {VLLM} --api-key $MINE"]}, "sk-from-env"),
        ({"command": ["bash", "-c", f"exec {VLLM} --api-key $(cat key)"]}, "sk-default"),
        ({"command": LLAMA + "--api-key sk-own,sk-second"}, "sk-own"),
        ({"command": LLAMA + "--api-key sk-own"}, "sk-own"),
        ({"command": LLAMA, "env": {"LLAMA_API_KEY": "sk-own"}}, "sk-own"),
        ({"command": "python -m sglang.launch_server --port {port} --api-key sk-own"}, "sk-own"),
        ({"command": VLLM}, "sk-default"),
        ({"command": VLLM + "--api-key sk-own", "upstream_key": "sk-written"}, "sk-written"),
        ({"command": VLLM + "--api-key sk-own", "upstream_key": ""}, None),
    ],
)
def test_a_server_gets_the_key_that_it_asks_for(model: dict[str, Any], key: str | None) -> None:
    env = {"UPSTREAM_API_KEY": "sk-default", "MINE": "sk-from-env"}
    assert spec(model, env).upstream_key == key


def test_a_variable_that_the_server_inherits_counts_too() -> None:
    assert spec({"command": LLAMA}, {"LLAMA_API_KEY": "sk-inherited"}).upstream_key == "sk-inherited"


def test_all_keys_of_a_server_are_secrets() -> None:
    settings = load({"command": VLLM + "--api-key sk-first sk-second"})
    assert {"sk-first", "sk-second"} <= secret_values(settings, {})


SECRETS = {
    "OPS_ADMIN": "admin-1",
    "STORE": "redis://:store-2-pw@localhost:6379/0",
    "STORE_PW": "only-a-part-3",
    "FRIEND": "friend-4",
    "SITE_PW": "site-5",
    "SECOND": "second-6",
    "CHAT_KEY": "chat-7",
    "OPENAI_API_KEY": "friend-4",
    "TOOL_URL": "http://tool/?key=friend-4x",
    "VLLM_API_KEY_OLD": "old-8",
    "VLLM_API_KEY": "default-9",
    "PIN": "7",
}
HARMLESS = {"HF_TOKEN": "hf-1", "PATH": "/bin", "LANG": "C", "SEVEN": "7", "LISTEN": "127.0.0.1:1"}


def test_what_the_configuration_uses_as_a_secret_is_withheld_from_servers() -> None:
    env = {**SECRETS, **HARMLESS, "VLLM_API_KEY_OLD_UNTIL": "2099-01-01"}
    withheld = spec(
        {"command": VLLM, "upstream_key": "${CHAT_KEY}", "env": {"HF_TOKEN": "${HF_TOKEN}"}},
        env,
        keys={
            "ops": {"key": "${OPS_ADMIN}", "admin": True},
            "friend": {"key": "${FRIEND}"},
            "other": {"key": "${PIN}"},
        },
        basic={"user": "u", "password": "${SITE_PW}"},
        api_secret="${SECOND}",
        rate_store="redis://:${STORE_PW}@localhost:6379/0",
    ).withheld
    assert set(SECRETS) - {"STORE", "TOOL_URL"} <= withheld
    assert "TOOL_URL" in withheld  # it holds a key
    assert not withheld & set(HARMLESS)
    whole = spec({"command": VLLM}, env, rate_store="${STORE}").withheld
    assert "STORE" in whole


def test_a_key_in_one_models_command_is_withheld_from_the_others() -> None:
    models = {"a": {"command": VLLM + "--api-key ${A_KEY}"}, "b": {"command": "run {port}"}}
    text = json.dumps({"state_dir": "s", "gpu": {"budget": 0.9}, "models": models})
    settings = loads(text, "f", {"HOME": "/h", "A_KEY": "sk-of-a"})
    assert settings.models["b"].withheld == {"A_KEY"}
