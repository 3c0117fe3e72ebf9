"""Finds the GPU devices of a container: by its device requests, by variables, or as CDI devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hotseat.runtimes.devices import ALL, VISIBLE, is_index, listed, same, without_kind

_CUDA, _NVIDIA = VISIBLE[:2]


def contradiction(given: Sequence[str] | None, wanted: Sequence[str], *, every: bool) -> str | None:
    """Return what a container is given instead of the wanted devices; ``None``: no contradiction.

    ``every``: the wanted devices are all that are configured, so that ``all`` is right.
    """
    if given is None or (tuple(given) == (ALL,) and every):
        return None
    if tuple(given) != (ALL,) and same(given, wanted):
        return None
    shown = "all GPUs" if tuple(given) == (ALL,) else f"GPU {', '.join(given)}" if given else "no GPU"
    return f"{shown}, but the model's devices are {', '.join(wanted)}"


def given_by_inspection(found: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the devices of a container that exists; ``None``: it is given none, or that is not known."""
    host = found.get("HostConfig") or {}
    requests = [
        (one.get("DeviceIDs"), one.get("Count"))
        for one in host.get("DeviceRequests") or ()
        if one.get("Driver") == "cdi"
        or _is_gpu(name for names in one.get("Capabilities") or () for name in names)
    ]
    env = dict(
        str(one).split("=", 1) for one in (found.get("Config") or {}).get("Env") or () if "=" in str(one)
    )
    return _given(requests, env, by_variable=host.get("Runtime") == "nvidia")


def given_by_service(service: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the devices of a Compose service; ``None``: it asks for none, or that is not known."""
    requests: list[tuple[Any, Any]] = []
    reserved = service
    for key in ("deploy", "resources", "reservations"):
        inner = reserved.get(key)
        reserved = inner if isinstance(inner, dict) else {}
    asked = reserved.get("devices")
    requests += [
        (one.get("device_ids"), one.get("count", ALL))
        for one in (asked if isinstance(asked, list) else ())
        if isinstance(one, dict) and (_is_gpu(one.get("capabilities") or ()) or one.get("driver") == "nvidia")
    ]
    gpus = service.get("gpus")
    if gpus == ALL:
        requests.append((None, ALL))
    requests += [
        (one.get("device_ids"), one.get("count", ALL))
        for one in (gpus if isinstance(gpus, list) else ())
        if isinstance(one, dict)
    ]
    cdi = [str(one) for one in service.get("devices") or () if isinstance(one, str) and "/gpu=" in one]
    if cdi:
        requests.append((cdi, None))
    return _given(requests, _environment(service), by_variable=service.get("runtime") == "nvidia")


def _environment(service: Mapping[str, Any]) -> dict[str, str]:
    env = service.get("environment")
    if isinstance(env, dict):
        return {str(name): str(value) for name, value in env.items() if value is not None}
    return dict(str(one).split("=", 1) for one in env or () if "=" in str(one))


def _is_gpu(capabilities: Iterable[Any]) -> bool:
    return bool({"gpu", "nvidia"} & set(map(str, capabilities)))


def _given(
    requests: Sequence[tuple[Any, Any]], env: Mapping[str, str], *, by_variable: bool
) -> tuple[str, ...] | None:
    base: tuple[str, ...] | None = None
    for ids, count in requests:
        base = (*(base or ()), *_requested(ids, count))
    if base is None and by_variable and _NVIDIA in env:
        base = listed(env[_NVIDIA])
    if base is None:
        return None
    if ALL in base:
        base = (ALL,)
    if _CUDA not in env:
        return base
    # Inside the container, devices are counted among those that it is given.
    inner = listed(env[_CUDA])
    if ALL in base:
        return inner
    return tuple(base[int(one)] if is_index(one) and int(one) < len(base) else one for one in inner)


def _requested(ids: Any, count: Any) -> tuple[str, ...]:
    if ids:
        return tuple(without_kind(str(one)) for one in (ids if isinstance(ids, list) else [ids]))
    text = str(count)
    if is_index(text):
        return tuple(str(index) for index in range(int(text)))
    return (ALL,)
