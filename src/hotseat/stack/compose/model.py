"""A Compose project, reduced to what the checks need.

Made from Compose's output (``docker compose config --format json``) or from hotseat's own reader, so both the
short and the long forms of ports, volumes, networks and commands are understood.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hotseat.stack.compose.servers import ServerKind, server_kind

_DEFAULT_SHM = 64 * 1024**2
_GPU_DEVICES = ("nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu", "/dev/nvidia", "/dev/kfd", "/dev/dri")
"""Beginnings of devices that are GPUs: by CDI (Container Device Interface), or as they are."""


@dataclass(frozen=True, slots=True)
class ServiceMount:
    """A bind mount or a volume."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeService:
    """A service of a Compose project."""

    name: str
    container: str | None
    image: str
    profiles: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    published: tuple[str, ...]
    """Ports on the host, such as ``8000`` or ``127.0.0.1:8000``."""
    networks: tuple[str, ...]
    network_mode: str | None
    mounts: tuple[ServiceMount, ...]
    restart: str
    shared_memory: bool
    """Whether ``shm_size`` is set or ``ipc`` is ``host``."""
    gpu: bool

    def option(self, name: str) -> str | None:
        """The last value of a flag in its command (``--name value`` or ``--name=value``)."""
        found = None
        for index, word in enumerate(self.command):
            flag, sign, value = word.partition("=")
            if flag.replace("_", "-") == name:
                found = value if sign else next(iter(self.command[index + 1 : index + 2]), "")
        return found

    def has_flag(self, name: str) -> bool:
        """Whether its command has a flag."""
        return any(word.partition("=")[0].replace("_", "-") == name for word in self.command)

    @property
    def is_model(self) -> bool:
        """Whether it looks like a model server."""
        return self.gpu or self.kind is not None or self.has_flag("--gpu-memory-utilization")

    @property
    def kind(self) -> ServerKind | None:
        """The kind of its model server; ``None``: not known."""
        return server_kind(self.image, self.command)

    def model(self) -> str | None:
        """The model in its command: vLLM's ``--model``, or else the first word if it is not a flag."""
        if named := self.option("--model"):
            return named
        words = list(self.command)
        while words and words[0] in ("vllm", "serve"):
            words.pop(0)
        return words[0] if words and not words[0].startswith("-") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeModel:
    """A Compose project: its services, and which of its networks are internal."""

    name: str
    services: Mapping[str, ComposeService]
    internal: frozenset[str]

    def by_container(self, container: str) -> ComposeService | None:
        """The service whose ``container_name`` this is, if any."""
        return next((one for one in self.services.values() if one.container == container), None)

    def models(self) -> list[ComposeService]:
        """The services that look like model servers, apart from the launcher."""
        return [one for one in self.services.values() if one.is_model and one.name != "launcher"]


def from_data(data: Mapping[str, Any], name: str) -> ComposeModel:
    """Make a project from Compose's data, in short or long forms; ``name`` is used if the data has none."""
    networks = data.get("networks") or {}
    return ComposeModel(
        name=str(data.get("name") or name),
        services={key: _service(key, value or {}) for key, value in (data.get("services") or {}).items()},
        internal=frozenset(
            key for key, value in networks.items() if isinstance(value, dict) and _true(value.get("internal"))
        ),
    )


def _service(name: str, data: Mapping[str, Any]) -> ComposeService:
    mode = data.get("network_mode")
    networks = data.get("networks")
    return ComposeService(
        name=name,
        container=_text(data.get("container_name")),
        image=str(data.get("image") or ""),
        profiles=tuple(map(str, data.get("profiles") or ())),
        command=_words(data.get("command")),
        environment=_environment(data.get("environment")),
        published=tuple(port for one in data.get("ports") or () if (port := _published(one))),
        networks=tuple(networks) if networks else () if mode else ("default",),
        network_mode=_text(mode),
        mounts=tuple(map(_mount, data.get("volumes") or ())),
        restart=_restart(data),
        shared_memory=_has_shared_memory(data),
        gpu=_gpu(data),
    )


def _true(value: object) -> bool:
    return value is True or str(value).lower() == "true"


def _text(value: object) -> str | None:
    return str(value) if value else None


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(map(str, value))
    if not value:
        return ()
    try:
        return tuple(shlex.split(str(value)))
    except ValueError:
        return (str(value),)


def _environment(value: object) -> dict[str, str]:
    if isinstance(value, list):
        pairs = (str(item).partition("=") for item in value)
        return {name: word for name, _, word in pairs}
    if isinstance(value, dict):
        return {str(name): "" if word is None else _lower_bool(word) for name, word in value.items()}
    return {}


def _lower_bool(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _published(value: object) -> str | None:
    """The host side of a published port; ``any`` where Docker chooses the port."""
    if isinstance(value, dict):
        address = f"{value['host_ip']}:" if value.get("host_ip") else ""
        return f"{address}{value.get('published') or 'any'}"
    text = str(value).partition("/")[0]
    host, colon, _ = text.rpartition(":")
    return (host.removesuffix(":") if host else "any") if colon else "any"


def _mount(value: object) -> ServiceMount:
    if isinstance(value, dict):
        return ServiceMount(str(value.get("source") or ""), str(value.get("target") or ""))
    parts = str(value).split(":")
    return ServiceMount(parts[0], parts[1]) if len(parts) > 1 else ServiceMount("", parts[0])


def _restart(data: Mapping[str, Any]) -> str:
    """The policy that Docker gets: ``restart``, else the one of ``deploy``."""
    if data.get("restart"):
        return str(data["restart"])
    deploy = data.get("deploy")
    policy = deploy.get("restart_policy") if isinstance(deploy, dict) else None
    if not isinstance(policy, dict):
        return "no"
    condition = str(policy.get("condition") or "any")
    return {"none": "no", "any": "always"}.get(condition, condition)


def _has_shared_memory(data: Mapping[str, Any]) -> bool:
    """Whether /dev/shm is larger than Docker's default, or shared with the host or another container."""
    if data.get("ipc") and str(data["ipc"]) not in ("private", "none", "shareable"):
        return True
    if data.get("shm_size"):
        return _bytes(data["shm_size"]) > _DEFAULT_SHM
    tmpfs = data.get("tmpfs") or ()
    for one in [tmpfs] if isinstance(tmpfs, str) else tmpfs:
        target, _, options = str(one).partition(":")
        if target.rstrip("/") == "/dev/shm":
            sizes = [word.partition("=")[2] for word in options.split(",") if word.startswith("size=")]
            return not sizes or _bytes(sizes[-1]) > _DEFAULT_SHM
    for one in data.get("volumes") or ():
        if _mount(one).target.rstrip("/") == "/dev/shm":
            given = one.get("tmpfs") if isinstance(one, dict) else None
            size = given.get("size") if isinstance(given, dict) else None
            return size is None or _bytes(size) > _DEFAULT_SHM
    return False


def _bytes(value: object) -> int:
    """A size as Compose and mount(8) write it; one that is not understood counts as large."""
    match = re.fullmatch(r"([0-9.]+)\s*([kmgt]?)i?b?", str(value).strip().lower())
    if match is None:
        return _DEFAULT_SHM + 1
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " "))


def _gpu(data: Mapping[str, Any]) -> bool:
    if data.get("runtime") == "nvidia" or data.get("gpus"):
        return True
    for one in data.get("devices") or ():
        device = str(one.get("source") if isinstance(one, dict) else one)
        if device.startswith(_GPU_DEVICES):
            return True
    node: Any = data
    for key in ("deploy", "resources", "reservations", "devices"):
        node = node.get(key) if isinstance(node, dict) else None
    return any(_computes(one.get("capabilities") or ()) for one in node or () if isinstance(one, dict))


def _computes(capabilities: Collection[str]) -> bool:
    """Whether a GPU is reserved for computing; ``utility`` alone only serves ``nvidia-smi``."""
    return "gpu" in capabilities and ("utility" not in capabilities or "compute" in capabilities)
