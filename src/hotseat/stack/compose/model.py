"""A Compose project, reduced to what the checks need.

Made from Compose's output (``docker compose config --format json``) or from hotseat's own reader, so both the
short and the long forms of ports, volumes, networks and commands are understood.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


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
        return self.gpu or "vllm" in self.image or self.has_flag("--gpu-memory-utilization")

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
        restart=str(data.get("restart") or "no"),
        shared_memory=bool(data.get("shm_size")) or data.get("ipc") == "host",
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


def _gpu(data: Mapping[str, Any]) -> bool:
    if data.get("runtime") == "nvidia" or data.get("gpus"):
        return True
    node: Any = data
    for key in ("deploy", "resources", "reservations", "devices"):
        node = node.get(key) if isinstance(node, dict) else None
    return any(_computes(one.get("capabilities") or ()) for one in node or () if isinstance(one, dict))


def _computes(capabilities: Collection[str]) -> bool:
    """Whether a GPU is reserved for computing; ``utility`` alone only serves ``nvidia-smi``."""
    return "gpu" in capabilities and ("utility" not in capabilities or "compute" in capabilities)
