"""The owner's stack with ``docker-compose.seed.yml``, on a real Docker Engine: the launcher downloads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.dockerd import Dockerd
from fakes.hub import serving
from fakes.stack import MODELS, OWNER, Stack, laid_out
from hotseat.envfile.syntax import assign

pytestmark = pytest.mark.system("docker", "dockerd", "curl", "jq", "ip", "iptables", "haproxy")

NAME = "microsoft/Phi-3.5-mini-instruct"


def say(stack: Stack, **values: str) -> None:
    """Write into ``.env``."""
    env = stack.folder / ".env"
    env.write_text(assign(env.read_text(encoding="utf-8"), values), encoding="utf-8")


@pytest.fixture
def stack(gpu_engine: Dockerd, tmp_path: Path) -> Iterator[Stack]:
    """The launcher up, with a cache of its user's own."""
    with laid_out(gpu_engine, tmp_path / "llm") as stack:
        cache = Path(stack.values["CACHE_DIR"])
        cache.mkdir()
        os.chown(cache, OWNER, OWNER)
        say(stack, COMPOSE_FILE="docker-compose.yml:docker-compose.seed.yml")
        stack.shell("docker compose up -d launcher")
        stack.until("the launcher is healthy", stack.healthy)
        yield stack


def test_the_launcher_downloads_what_the_cache_lacks(stack: Stack) -> None:
    found: Any = json.loads(stack.shell("docker network inspect llm_front"))
    gateway = found[0]["IPAM"]["Config"][0]["Gateway"]
    with serving({NAME: {"config.json": b"{}", "model.safetensors": b"weights"}}, gateway) as hub:
        say(stack, HF_ENDPOINT=hub.url)  # read anew for each download
        assert "sitechat" in stack.shell(MODELS.format("chat"))
        assert len(hub.downloads("model.safetensors")) == 1
    (weights,) = Path(stack.values["CACHE_DIR"]).rglob("snapshots/*/model.safetensors")
    assert weights.read_bytes() == b"weights"
    assert weights.stat().st_uid == OWNER
    stack.shell("docker compose stop sitechat")
    assert "sitechat" in stack.shell(MODELS.format("chat"))  # without the hub: all is there
