"""Resolves each model's scheduling: footprint, timeouts, priority, sleep."""

from __future__ import annotations

from collections.abc import Mapping

from hotseat.config.command_info import CommandInfo
from hotseat.config.document import Document, Path
from hotseat.config.parsers import gpu
from hotseat.config.schema.gpu import GpuConfig
from hotseat.config.schema.inherited import InheritedSettings
from hotseat.config.schema.model import ModelConfig
from hotseat.config.schema.root import RootConfig
from hotseat.config.schema.sleep import SleepConfig
from hotseat.core.spec import PPM, SchedulingSpec, SleepSpec, StandbyMode
from hotseat.runtimes.registry import kind_of

STANDBY_MIB = 1400
"""Host memory of a server that stands by, in MiB: vLLM's processes took 1,279."""
STANDBY_RESERVE_MIB = 2048


def budgets_of(config: GpuConfig) -> dict[str, int]:
    """The budget of each device, in parts per million."""
    if isinstance(config.devices, dict):
        return dict(config.devices)
    return dict.fromkeys(config.devices or ("0",), config.budget)


class SchedulingResolver:
    """Makes a ``SchedulingSpec`` for each model; problems go into the document."""

    def __init__(self, document: Document, root: RootConfig, budgets: Mapping[str, int]) -> None:
        """``budgets`` are those of ``budgets_of``."""
        self._document = document
        self._root = root
        self._budgets = budgets

    def spec(
        self, name: str, model: ModelConfig, inherited: InheritedSettings, info: CommandInfo, fingerprint: str
    ) -> SchedulingSpec:
        """One model's spec. ``inherited`` are its settings with those of the top of the file filled in."""
        at: Path = ("models", name)
        residency, max_wait = inherited.residency, inherited.max_wait
        return SchedulingSpec(
            name=name,
            footprint=self._footprint(at, model, info),
            idle_s=inherited.idle or None,
            start_timeout_s=inherited.start_timeout,
            download_timeout_s=self._download_timeout(at, model, inherited, info),
            drain_timeout_s=inherited.drain_timeout,
            residency_s=None if residency == "auto" else residency,
            max_wait_s=None if max_wait == "auto" else max_wait,
            pinned=model.pinned,
            warm=model.preload,
            priority=model.priority,
            max_in_flight=info.max_in_flight if model.max_in_flight is None else model.max_in_flight,
            max_queue=inherited.max_queue,
            wait_limit_s=inherited.wait_limit,
            sleep=self._sleep(at, model, info),
            standby=self._standby(model, info),
            standby_mib=self._standby_mib(model),
            fingerprint=fingerprint,
        )

    def _standby(self, model: ModelConfig, info: CommandInfo) -> StandbyMode:
        for said in (model.standby, self._root.standby):
            if said is not None and said.mode is not None:
                return StandbyMode(said.mode)
        return StandbyMode.DEMAND if info.engine == "vllm" else StandbyMode.OFF

    def _standby_mib(self, model: ModelConfig) -> int:
        said = model.standby.host_memory if model.standby else None
        return STANDBY_MIB if said is None else -(-said >> 20)

    def host_limit_mib(self) -> int | None:
        """The limit of host memory for all models that sleep or stand by."""
        sleep, standby = self._root.sleep, self._root.standby
        sleepers = sleep.host_memory if sleep else None
        both = standby.host_memory if standby else None
        if sleepers is not None and both is not None and sleepers != both:
            self._document.problem(
                ("standby", "host_memory"),
                "differs from sleep.host_memory, and both limit models that sleep and stand by together",
                "remove one of the two",
            )
        limit = sleepers if both is None else both
        return None if limit is None else limit >> 20

    def standby_reserve_mib(self) -> int:
        """Host memory that must stay available when a model is prepared."""
        said = self._root.standby.reserve if self._root.standby else None
        return STANDBY_RESERVE_MIB if said is None else -(-said >> 20)

    def _download_timeout(
        self, at: Path, model: ModelConfig, inherited: InheritedSettings, info: CommandInfo
    ) -> float | None:
        if model.seed and info.engine != "vllm":
            self._document.problem(
                (*at, "seed"),
                "only models of vLLM commands can be downloaded",
                "remove this line, or set engine: vllm if this is a vLLM server",
            )
        return inherited.seed_timeout if inherited.seed and info.engine == "vllm" else None

    def _footprint(self, at: Path, model: ModelConfig, info: CommandInfo) -> dict[str, int]:
        devices = model.devices or self._default_devices(model)
        self._check_devices((*at, "devices"), devices)
        if isinstance(model.footprint, dict):
            self._check_pools((*at, "footprint"), model)
            self._check_devices((*at, "footprint"), tuple(model.footprint))
            if model.devices and set(model.devices) != set(model.footprint):
                self._document.problem(
                    (*at, "devices"),
                    "does not list the same devices as footprint",
                    "remove devices: footprint already names them",
                )
            return self._checked((*at, "footprint"), model.footprint)
        share = model.footprint if model.footprint is not None else info.share
        if share is not None:
            return self._checked((*at, "footprint"), dict.fromkeys(devices, share))
        # Of a GPU all that there is; of a pool one GPU.
        return {device: min(self._budgets.get(device, 0), PPM) for device in devices}

    def _default_devices(self, model: ModelConfig) -> tuple[str, ...]:
        """All devices that the model's runtime can use: pools are a cluster's."""
        pools = not kind_of(model.runtime, model).on_this_machine
        return tuple(device for device in self._budgets if gpu.is_pool(device) == pools) or tuple(
            self._budgets
        )

    def _check_pools(self, path: Path, model: ModelConfig) -> None:
        kind = kind_of(model.runtime, model)
        assert isinstance(model.footprint, dict)
        pools = [device for device in model.footprint if gpu.is_pool(device) and device in self._budgets]
        if pools and kind.on_this_machine:
            self._document.problem(
                path,
                f"{pools[0]} is a pool of a cluster, and this model runs on this machine ({kind.name})",
                "name a device such as 0, or write runtime: kubernetes",
            )

    def _checked(self, path: Path, footprint: dict[str, int]) -> dict[str, int]:
        """Report more than one GPU of a device that is no pool."""
        for device, ppm in footprint.items():
            if ppm > PPM >= self._budgets.get(device, ppm):
                self._document.problem(path, gpu.TOO_MUCH)
                return dict.fromkeys(footprint, 0)
        return footprint

    def _check_devices(self, path: Path, devices: tuple[str, ...]) -> None:
        unknown = sorted(set(devices) - set(self._budgets))
        if unknown and not self._document.tainted(("gpu",)):
            listed = self._document.shown(path, ", ".join(unknown))
            self._document.problem(
                path,
                f"device {listed} has no budget (configured devices: {', '.join(self._budgets)})",
                "add it to gpu.devices",
            )

    def _sleep(self, at: Path, model: ModelConfig, info: CommandInfo) -> SleepSpec | None:
        default = self._root.sleep or SleepConfig()
        own = model.sleep or SleepConfig()
        if model.sleep and own.level != 0 and info.engine != "vllm":
            self._document.problem(
                (*at, "sleep"),
                "only vLLM servers can sleep",
                "remove this line, or set engine: vllm if this is a vLLM server",
            )
        # A mapping on the model enables sleep even if it sets no level.
        level = own.level if own.level is not None else default.level or (1 if model.sleep else 0)
        if not level:
            return None
        path = (*at, "sleep") if own.level is not None else ("sleep",)
        idle = own.idle if own.idle is not None else default.idle
        leftover = own.leftover if own.leftover is not None else default.leftover
        devices = model.devices or self._default_devices(model)
        if not isinstance(leftover, dict):
            leftover = self._checked(path, dict.fromkeys(devices, leftover)) if leftover else {}
        else:
            self._check_devices(path, tuple(leftover))
            leftover = self._checked(path, leftover)
        host_bytes = own.host_memory or 0
        return SleepSpec(level=level, leftover=leftover, host_mib=-(-host_bytes >> 20), idle_s=idle or None)
