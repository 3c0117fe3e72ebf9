"""Where a container is reached: by its network, its published port or its own address."""

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
    """From where we look."""

    networks: frozenset[str] | None = None
    """Ids of the networks of the container that hotseat runs in; ``None``: it runs on the host."""
    remote_host: str | None = None
    """The host of an engine on another machine."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, as we see it."""

    host: str
    port: int
    base_path: str = ""


def from_url(url: str) -> Address:
    """The address that the operator wrote. Raises ``ValueError`` where it is not plain HTTP."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"url must be http://HOST[:PORT][/PATH], not {url}")
    return Address(parts.hostname, parts.port or 80, parts.path.rstrip("/"))


def find(found: Mapping[str, Any], spec: DockerSpec, vantage: NetworkView) -> Address | None:
    """Where this running container is reached; ``None`` where we see no way to it."""
    if spec.url is not None:
        return from_url(spec.url)
    port = inner_port(found, spec)
    attached = (found.get("NetworkSettings") or {}).get("Networks") or {}
    addresses = {end["NetworkID"]: end.get("IPAddress") for end in attached.values() if end.get("IPAddress")}
    if vantage.networks is not None:
        # The address is what the container's name stands for there, without a look-up per connection.
        shared = [addresses[network] for network in sorted(vantage.networks & addresses.keys())]
        return Address(shared[0], port) if shared else None
    if str(found["HostConfig"].get("NetworkMode")) == "host":
        return Address(vantage.remote_host or "127.0.0.1", port)
    if published := _published(found, port, vantage):
        return published
    # The engine's own machine reaches every bridge network, internal ones too; other machines do not.
    if vantage.remote_host is None and addresses:
        return Address(next(iter(addresses.values())), port)
    return None


def inner_port(found: Mapping[str, Any], spec: DockerSpec) -> int:
    """The port that the server listens on in its container."""
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


def _published(found: Mapping[str, Any], port: int, vantage: NetworkView) -> Address | None:
    bindings = ((found.get("NetworkSettings") or {}).get("Ports") or {}).get(f"{port}/tcp") or []
    for binding in bindings:
        host = binding.get("HostIp") or "0.0.0.0"
        if ipaddress.ip_address(host).is_unspecified:
            host = vantage.remote_host or "127.0.0.1"
        elif vantage.remote_host is not None and ipaddress.ip_address(host).is_loopback:
            continue
        return Address(host, int(binding["HostPort"]))
    return None


def own_container(mountinfo: str | None = None) -> str | None:
    """The id or short id of the container that this process runs in; ``None`` outside of one.

    Source: the files that the engine mounts into every container come from a folder with its id.
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
    # Where the engine's folder is a mount of its own, its path is not told; the host name is the short id.
    name = socket.gethostname()
    return name if _SHORT_ID.fullmatch(name) else None


def networks_of(found: Mapping[str, Any]) -> frozenset[str] | None:
    """The networks of our own container; ``None`` where it uses the host's."""
    if str(found["HostConfig"].get("NetworkMode")) == "host":
        return None
    attached = (found.get("NetworkSettings") or {}).get("Networks") or {}
    return frozenset(end["NetworkID"] for end in attached.values() if end.get("NetworkID"))
