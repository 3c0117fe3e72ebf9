"""Finds the address of a container: on a shared network, by its published port, or its own address."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hotseat.runtimes.docker.spec import DockerSpec

DEFAULT_PORT = 8000
_OWN_FILES = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
_CONTAINER = re.compile(r"/containers/([0-9a-f]{64})/")
_SHORT_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class NetworkView:
    """The networks that hotseat itself is attached to."""

    networks: frozenset[str] | None = None
    """Ids of the networks of hotseat's own container; ``None``: it runs on the host's network."""
    remote_host: str | None = None
    """The host of an engine on another machine; ``None``: the engine is on this one."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server, as hotseat reaches it."""

    host: str
    port: int
    base_path: str = ""


def from_url(url: str) -> Address:
    """Return the address of a configured ``url``. Raises ``ValueError`` where it is not plain HTTP."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"url must be http://HOST[:PORT][/PATH], not {url}")
    return Address(parts.hostname, parts.port or 80, parts.path.rstrip("/"))


def find(found: Mapping[str, Any], spec: DockerSpec, view: NetworkView) -> Address | None:
    """Return the address of a running container; ``None``: hotseat cannot reach it."""
    if spec.url is not None:
        return from_url(spec.url)
    port = inner_port(found, spec)
    attached = (found.get("NetworkSettings") or {}).get("Networks") or {}
    addresses = {end["NetworkID"]: end.get("IPAddress") for end in attached.values() if end.get("IPAddress")}
    if view.networks is not None:
        # The container's name resolves to this address there; using it saves a look-up for each connection.
        shared = [addresses[network] for network in sorted(view.networks & addresses.keys())]
        return Address(shared[0], port) if shared else None
    if str(found["HostConfig"].get("NetworkMode")) == "host":
        return Address(view.remote_host or "127.0.0.1", port)
    if published := _published(found, port, view):
        return published
    # The engine's machine reaches every bridge network, internal ones included; other machines do not.
    if view.remote_host is None and addresses:
        return Address(next(iter(addresses.values())), port)
    return None


def inner_port(found: Mapping[str, Any], spec: DockerSpec) -> int:
    """Return the port that the server listens on in its container."""
    if spec.port is not None:
        return spec.port
    words = [str(word) for word in found.get("Args") or ()]
    for word, after in zip(words, [*words[1:], ""], strict=False):
        value = after if word == "--port" else word.removeprefix("--port=")
        if value != word and value.isdigit():
            return int(value)
    exposed = [
        key.partition("/")[0] for key in found["Config"].get("ExposedPorts") or {} if "/udp" not in key
    ]
    return int(exposed[0]) if len(exposed) == 1 else DEFAULT_PORT


def _published(found: Mapping[str, Any], port: int, view: NetworkView) -> Address | None:
    bindings = ((found.get("NetworkSettings") or {}).get("Ports") or {}).get(f"{port}/tcp") or []
    for binding in bindings:
        host = binding.get("HostIp") or "0.0.0.0"
        if ipaddress.ip_address(host).is_unspecified:
            host = view.remote_host or "127.0.0.1"
        elif view.remote_host is not None and ipaddress.ip_address(host).is_loopback:
            continue
        return Address(host, int(binding["HostPort"]))
    return None


def own_container(mountinfo: str | None = None) -> str | None:
    """Return the id or short id of the container that this process runs in; ``None``: not in a container.

    Read from the mounts: the engine mounts files into every container from a folder named by its id.
    """
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text()
        except OSError:
            return None
    for line in mountinfo.splitlines():
        words = line.split()
        if len(words) > 4 and words[4] in _OWN_FILES and (match := _CONTAINER.search(words[3])):
            return match[1]
    # Where the engine's folder is a mount of its own, its path is not shown; the host name is the short id.
    name = socket.gethostname()
    return name if _SHORT_ID.fullmatch(name) else None


def networks_of(found: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the ids of a container's networks; ``None``: it uses the host's network."""
    if str(found["HostConfig"].get("NetworkMode")) == "host":
        return None
    attached = (found.get("NetworkSettings") or {}).get("Networks") or {}
    return frozenset(end["NetworkID"] for end in attached.values() if end.get("NetworkID"))
