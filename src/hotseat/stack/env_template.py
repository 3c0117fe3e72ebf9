"""The ``.env`` of the stack: what ``hotseat init`` writes, and the example in ``deploy/compose``."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from datetime import UTC, datetime

KEYS = ("VLLM_API_KEY", "UPSTREAM_API_KEY", "ADMIN_API_KEY")
"""What clients send, what the containers want, and what opens the admin API."""

_TEMPLATE = string.Template("""\
# Read by Compose (docker-compose.yml) and by the launcher. Keep it to yourself: mode 600.
# `hotseat init` writes it with fresh keys; `hotseat rotate-key` replaces the clients' key.

COMPOSE_PROJECT_NAME=llm

# What clients send as `Authorization: Bearer ...`, and since when. Rotate it quarterly.
VLLM_API_KEY=$VLLM_API_KEY
VLLM_API_KEY_SINCE=$SINCE
# What the containers are started with (as their VLLM_API_KEY); the launcher sends it. Without it the
# clients' key serves both.
UPSTREAM_API_KEY=$UPSTREAM_API_KEY
# Opens the admin API.
ADMIN_API_KEY=$ADMIN_API_KEY

# Who runs the launcher (the owner of this file), the Docker socket, and the group that may use it.
LAUNCHER_UID=$LAUNCHER_UID
LAUNCHER_GID=$LAUNCHER_GID
DOCKER_SOCKET=$DOCKER_SOCKET
DOCKER_GID=$DOCKER_GID

# Where the launcher is published. Behind a front on this machine: LAUNCHER_BIND=127.0.0.1
LAUNCHER_BIND=0.0.0.0
LAUNCHER_PORT=8000
# Open files that the launcher may have: two for each request.
LAUNCHER_NOFILE=65536
START_TIMEOUT_SECONDS=300
IDLE_SECONDS=1800

# Weights (huggingface/) and compile caches (vllm/), on ext4.
CACHE_DIR=/srv/llm/.cache
# What sitechat may take of the GPU. 0.18 of 24 GB does not hold its weights: see `hotseat doctor`.
SITECHAT_GPU_UTIL=0.18

# Images; the pinned ones stand in docker-compose.yml.
#VLLM_IMAGE=vllm/vllm-openai:v0.33.0
#VLLM_BNB_IMAGE=vllm/vllm-openai:v0.27.1
#LAUNCHER_IMAGE=hotseat:0.1.0
#SOCKET_PROXY_IMAGE=haproxy:3.2.4-alpine

# A public site: the launcher gets a proxy of the Docker socket instead of the socket.
#COMPOSE_FILE=docker-compose.yml:docker-compose.public.yml
""")

_EXAMPLE = {
    "LAUNCHER_UID": "1000",
    "LAUNCHER_GID": "1000",
    "DOCKER_SOCKET": "/var/run/docker.sock",
    "DOCKER_GID": "999",
}


def example() -> str:
    """``.env.example``: no keys."""
    return _TEMPLATE.substitute({**dict.fromkeys((*KEYS, "SINCE"), ""), **_EXAMPLE})


def fresh(now: datetime, host: Mapping[str, object]) -> str:
    """A ``.env`` with fresh keys; ``host`` has the variables of ``_EXAMPLE``, as they are here."""
    keys = {name: new_key() for name in KEYS}
    return _TEMPLATE.substitute({**keys, "SINCE": stamp(now), **host})


def new_key() -> str:
    """256 random bits in hex."""
    return secrets.token_hex(32)


def stamp(moment: datetime) -> str:
    """A moment as it stands in the file: ``2026-11-23T19:25:12Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
