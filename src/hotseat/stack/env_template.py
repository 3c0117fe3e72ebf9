"""The stack's ``.env``, as ``hotseat init`` writes it, and the example in ``deploy/compose``."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from datetime import UTC, datetime

KEYS = ("VLLM_API_KEY", "UPSTREAM_API_KEY", "ADMIN_API_KEY")
"""The keys of clients, of the containers and of the admin API."""

_TEMPLATE = string.Template("""\
# Read by Compose (docker-compose.yml) and by the launcher. Contains secrets: keep it at mode 600.
# `hotseat init` writes it with new keys; `hotseat rotate-key` replaces the clients' key.

COMPOSE_PROJECT_NAME=llm

# The clients' key (`Authorization: Bearer ...`), and when it was created. Rotate it quarterly.
VLLM_API_KEY=$VLLM_API_KEY
VLLM_API_KEY_SINCE=$SINCE
# The containers' key (their VLLM_API_KEY), which the launcher sends. If empty, the clients' key is used.
UPSTREAM_API_KEY=$UPSTREAM_API_KEY
# The key of the admin API.
ADMIN_API_KEY=$ADMIN_API_KEY

# The user that runs the launcher (the owner of this file), the Docker socket, and the socket's group.
LAUNCHER_UID=$LAUNCHER_UID
LAUNCHER_GID=$LAUNCHER_GID
DOCKER_SOCKET=$DOCKER_SOCKET
DOCKER_GID=$DOCKER_GID

# The address on which the launcher is published. Behind a reverse proxy on this machine: 127.0.0.1
LAUNCHER_BIND=0.0.0.0
LAUNCHER_PORT=8000
# The launcher's limit of open files; a request takes two.
LAUNCHER_NOFILE=65536
START_TIMEOUT_SECONDS=300
IDLE_SECONDS=1800

# The folder for weights (huggingface/) and compile caches (vllm/). Must be on ext4.
CACHE_DIR=/srv/llm/.cache
# The share of the GPU for sitechat. 0.18 of 24 GB is too small for its weights: see `hotseat doctor`.
SITECHAT_GPU_UTIL=0.18

# Images that replace those pinned in docker-compose.yml.
#VLLM_IMAGE=vllm/vllm-openai:v0.33.0
#VLLM_BNB_IMAGE=vllm/vllm-openai:v0.27.1
#LAUNCHER_IMAGE=hotseat:0.1.0
#SOCKET_PROXY_IMAGE=haproxy:3.2.4-alpine

# For a public site: give the launcher a restricted proxy of the Docker socket instead of the socket.
#COMPOSE_FILE=docker-compose.yml:docker-compose.public.yml
""")

_EXAMPLE = {
    "LAUNCHER_UID": "1000",
    "LAUNCHER_GID": "1000",
    "DOCKER_SOCKET": "/var/run/docker.sock",
    "DOCKER_GID": "999",
}


def example() -> str:
    """The text of ``.env.example``, without keys."""
    return _TEMPLATE.substitute({**dict.fromkeys((*KEYS, "SINCE"), ""), **_EXAMPLE})


def fresh(now: datetime, host: Mapping[str, object]) -> str:
    """A ``.env`` with new keys; ``host`` holds this machine's values of the variables in ``_EXAMPLE``."""
    keys = {name: new_key() for name in KEYS}
    return _TEMPLATE.substitute({**keys, "SINCE": stamp(now), **host})


def new_key() -> str:
    """A new key: 256 random bits in hexadecimal."""
    return secrets.token_hex(32)


def stamp(moment: datetime) -> str:
    """A moment as written in the file: ``2026-11-23T19:25:12Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
