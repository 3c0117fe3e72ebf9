"""The ``hotseat.yaml`` and ``.env`` that ``hotseat init`` writes."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime

import yaml

from hotseat.stack.compose.model import ComposeService
from hotseat.stack.env_template import stamp

_PLAIN = """\
# Written by `hotseat init`. hotseat reads the keys from the .env beside this file.
# Check it with `hotseat check-config`, run it with `hotseat serve`.

# This machine only. `:8000` is reached from the network, too.
listen: 127.0.0.1:8000

# The model for requests that name none.
default_model: chat

models:
  chat:
    # {about}
    command: {command}
    # Stop it when it was not used for this long.
    idle: 30m

  # A second model: it takes the GPU when it is asked for, and the first one leaves.
  # coder:
  #   command: {second}
"""
_VLLM = "vllm serve {model} --port {{port}} --gpu-memory-utilization 0.85 --max-model-len 8192"
_LLAMA = "llama-server -hf {model} --port {{port}} --n-gpu-layers 99 --ctx-size 8192"
_COMPOSE = """\
# Written by `hotseat init` from {file}. Check it with `hotseat check-config` and `hotseat lint`.
# Shares of the GPU, names and grace periods are read from the containers' own commands.

compose: {file}
"""


def plain(has_program: Mapping[str, bool]) -> str:
    """Return a ``hotseat.yaml`` with one small model; ``has_program``: which servers this machine has."""
    if has_program.get("llama-server") and not has_program.get("vllm"):
        about = "Any server that speaks OpenAI's API and listens on {port} will do; this one is llama.cpp's."
        first, second = "Qwen/Qwen2.5-1.5B-Instruct-GGUF", "Qwen/Qwen2.5-Coder-3B-Instruct-GGUF"
        template = _LLAMA
    else:
        about = "Any server that speaks OpenAI's API and listens on {port} will do; this one is vLLM."
        first, second = "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-Coder-3B-Instruct"
        template = _VLLM
    return _PLAIN.format(
        about=about, command=template.format(model=first), second=template.format(model=second)
    )


def of_project(file: str, services: Iterable[ComposeService]) -> str:
    """Return a ``hotseat.yaml`` for the model servers of a Compose project."""
    models = {one.name: {"container": one.container} for one in services if one.container}
    default = next(iter(models), None)
    listed = {**({"default_model": default} if default else {}), "models": models}
    return _COMPOSE.format(file=file) + "\n" + yaml.safe_dump(listed, sort_keys=False)


def env_file(now: datetime) -> str:
    """Return a ``.env`` with new keys for a launcher of plain processes."""
    return (
        "# Read by hotseat. Contains secrets: keep it at mode 600.\n"
        "# `hotseat rotate-key` replaces the clients' key.\n\n"
        "# The clients' key (`Authorization: Bearer ...`), and when it was created.\n"
        f"VLLM_API_KEY={secrets.token_hex(32)}\n"
        f"VLLM_API_KEY_SINCE={stamp(now)}\n"
        "# The key of the admin API: status, start, stop, reload.\n"
        f"ADMIN_API_KEY={secrets.token_hex(32)}\n"
    )
