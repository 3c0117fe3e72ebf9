"""Finds the GPU devices of a model, and what in its command, variables or Compose file denies them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any

import yaml

from hotseat.config.command_problems import assignments
from hotseat.config.document import Document, Path
from hotseat.config.parsers.gpu import is_pool
from hotseat.config.schema.model import ModelConfig
from hotseat.config.schema.root import RootConfig
from hotseat.core.spec import LaunchSpec
from hotseat.envfile import disk
from hotseat.envfile.interpolation import InterpolationError, interpolate
from hotseat.envfile.syntax import EnvFileError
from hotseat.runtimes import devices
from hotseat.runtimes.docker.devices import contradiction, given_by_service


class DeviceResolver:
    """Finds the devices of each model; problems go into the document."""

    def __init__(
        self, document: Document, root: RootConfig, budgets: Mapping[str, int], env: Mapping[str, str]
    ) -> None:
        """``budgets`` are those of all configured devices."""
        self._document, self._root, self._env = document, root, env
        self._budgets = {device: share for device, share in budgets.items() if not is_pool(device)}
        """Of the GPUs of this machine; pools of a cluster are not shown to a program."""

    def written(self, model: ModelConfig) -> ModelConfig:
        """The model with the devices that its own ``CUDA_VISIBLE_DEVICES`` names, where it has no others."""
        if model.devices or isinstance(model.footprint, dict) or not self._root.gpu.devices:
            return model
        own = _own_variables(model).get(devices.VISIBLE[0])
        named = devices.listed(own) if own is not None else ()
        if named and all(name in self._budgets for name in named):
            return model.model_copy(update={"devices": named})
        return model

    def visible(self, at: Path, model: ModelConfig) -> tuple[str, ...] | None:
        """The devices that a program of this model must be shown; ``None``: as it is.

        Reports what names others.
        """
        wanted = self.wanted(model)
        if wanted is None or self._document.tainted((*at, "devices")):
            return None
        if not self._check_order(at, model, wanted):
            return wanted
        in_command = assignments(_command(model))
        sources = [((*at, "env", name), name, _env(model).get(name)) for name in devices.VISIBLE]
        sources += [((*at, "command"), name, in_command.get(name)) for name in devices.VISIBLE]
        said = [(path, name, text) for path, name, text in sources if text is not None]
        for path, name, text in said:
            self._check(path, name, text, wanted)
        return None if any(name == devices.VISIBLE[0] for _, name, _ in said) else wanted

    def wanted(self, model: ModelConfig) -> tuple[str, ...] | None:
        """The devices that the file gives a model; ``None``: the file names no devices at all."""
        if model.devices:
            named = model.devices
        elif isinstance(model.footprint, dict):
            named = tuple(device for device, share in model.footprint.items() if share)
        else:
            named = tuple(self._budgets) if self._root.gpu.devices else ()
        return None if not named or any(map(is_pool, named)) else named

    def _check(self, path: Path, name: str, text: str, wanted: tuple[str, ...]) -> None:
        named = devices.listed(text)
        if named == (devices.ALL,) and set(wanted) == set(self._budgets):
            return
        if named != (devices.ALL,) and devices.same(named, wanted):
            return
        self._document.problem(
            path,
            f"sets {name}={self._document.shown(path, text)}, "
            f"but the model's devices are {', '.join(wanted)}",
            f"remove {name}: devices sets it",
        )

    def _check_order(self, at: Path, model: ModelConfig, wanted: tuple[str, ...]) -> bool:
        own = _own_variables(model).get(devices.ORDER)
        if own in (None, devices.BY_BUS) or not any(map(devices.is_index, wanted)):
            return True
        self._document.problem(
            (*at, "env", devices.ORDER) if devices.ORDER in _env(model) else (*at, "command"),
            f"with {devices.ORDER}={own}, CUDA counts devices differently from nvidia-smi and from devices",
            f"remove {devices.ORDER}, or name the devices by their UUIDs (nvidia-smi -L)",
        )
        return False

    def check_compose(self, at: Path, model: ModelConfig, launch: LaunchSpec) -> None:
        """Report a Compose service that is given other devices than the model."""
        project, wanted = launch.compose_project, self.wanted(model)
        if project is None or wanted is None or launch.container_name is None:
            return
        service = _service(project.file, project.service, launch.container_name, self._env)
        given = given_by_service(service) if service is not None else None
        trouble = contradiction(given, wanted, every=set(wanted) == set(self._budgets))
        if trouble is not None:
            path = next(
                (p for p in ((*at, "devices"), (*at, "footprint")) if p in self._document.positions), at
            )
            self._document.problem(
                path,
                f"{project.file} gives {launch.container_name} {trouble}",
                f"write device_ids: [{', '.join(repr(one) for one in wanted)}] below the service's "
                "deploy.resources.reservations.devices",
            )


def _command(model: ModelConfig) -> tuple[str, ...]:
    return getattr(model, "command", None) or ()  # a key of the runtime that runs programs


def _env(model: ModelConfig) -> Mapping[str, str]:
    return getattr(model, "env", None) or {}


def _own_variables(model: ModelConfig) -> dict[str, str]:
    return {**assignments(_command(model)), **_env(model)}


def _service(file: str, service: str | None, container: str, env: Mapping[str, str]) -> dict[str, Any] | None:
    """Read a service from Compose files as far as devices need it; ``None`` where it is not found.

    Anything else that is wrong with the files is Compose's to say.
    """
    found: dict[str, Any] = {}
    files = file.split(os.pathsep)
    variables = _variables(FilePath(files[0]).parent, env)
    for one in files:
        try:
            data = yaml.safe_load(FilePath(one).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        services = data.get("services") if isinstance(data, dict) else None
        for name, made in (services if isinstance(services, dict) else {}).items():
            filled = _filled(made, lambda text: interpolate(text, variables))
            if not isinstance(filled, dict):
                continue
            if name == service or (service is None and container == filled.get("container_name")):
                service = str(name)
                found.update(filled)
    return found or None


def _variables(folder: FilePath, env: Mapping[str, str]) -> Mapping[str, str]:
    try:
        return {**disk.read(folder / ".env", env), **env}
    except (EnvFileError, OSError, ValueError):
        return env


def _filled(value: Any, fill: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, fill) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, fill) for inner in value]
    if isinstance(value, str):
        try:
            return fill(value)
        except InterpolationError:
            return value
    return value
