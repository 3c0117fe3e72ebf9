"""Reads the GPUs through NVML, and waits until memory that should be free is free.

Without the package ``nvidia-ml-py`` (the extra ``gpu``), a driver, or a GPU there is no reader; memory then
counts as free once a runtime confirms the exit of its run. Source of the calls: NVML's API reference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hotseat.core.errors import Reason
from hotseat.core.spec import PPM

MIB = 1024 * 1024
BACK_WITHIN_S = 30.0
"""Seconds that a start waits for memory that should be free by now."""
LOOK_EVERY_S = 0.1
SLACK_PPM = 10_000
"""The driver's own share, which no program can have: one per cent of a device may be missing."""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One device at one moment."""

    device: str
    """Its index as NVML counts, ``"0"``."""
    name: str
    total_mib: int
    free_mib: int
    busy_percent: int | None
    """Utilization; ``None``: the driver does not tell it."""

    uuid: str = ""
    """``GPU-…``, as ``nvidia-smi -L`` shows it; empty: the driver does not tell it."""

    @property
    def used_mib(self) -> int:
        """Memory that all programs take together, those outside hotseat included."""
        return self.total_mib - self.free_mib


class GpuReader(Protocol):
    """Something that reads the devices."""

    def read(self) -> dict[str, GpuReading]:
        """Return all devices by index, now; fast enough for the event loop. Empty when the driver fails."""


class NvmlReader:
    """Reads the devices through NVML."""

    def __init__(self, nvml: Any) -> None:
        """``nvml`` is the module ``pynvml``; raises its ``NVMLError`` when there is no driver."""
        self._nvml = nvml
        nvml.nvmlInit()

    def read(self) -> dict[str, GpuReading]:
        """Return all devices by index, now; empty when the driver does not answer."""
        nvml = self._nvml
        try:
            count = nvml.nvmlDeviceGetCount()
            return {str(index): self._one(index) for index in range(count)}
        except nvml.NVMLError:
            return {}

    def _one(self, index: int) -> GpuReading:
        nvml = self._nvml
        device = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(device)
        name = nvml.nvmlDeviceGetName(device)
        try:
            busy = int(nvml.nvmlDeviceGetUtilizationRates(device).gpu)
        except nvml.NVMLError:  # not available on some devices and under WSL
            busy = None
        return GpuReading(
            device=str(index),
            name=name.decode() if isinstance(name, bytes) else str(name),
            total_mib=memory.total // MIB,
            free_mib=memory.free // MIB,
            busy_percent=busy,
            uuid=self._uuid(device),
        )

    def _uuid(self, device: Any) -> str:
        ask = getattr(self._nvml, "nvmlDeviceGetUUID", None)  # stand-ins for NVML do without it
        try:
            uuid = ask(device) if ask else ""
        except self._nvml.NVMLError:
            return ""
        return uuid.decode() if isinstance(uuid, bytes) else str(uuid)


def reading_of(readings: Mapping[str, GpuReading], device: str) -> GpuReading | None:
    """Return the reading of a device as the configuration names it: by index, or by UUID."""
    by_uuid = (one for one in readings.values() if one.uuid and one.uuid.lower() == device.lower())
    return readings.get(device) or next(by_uuid, None)


def open_gpus() -> GpuReader | None:
    """Return the reader of this machine's devices; ``None``: there is nothing to read."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        return NvmlReader(pynvml)
    except pynvml.NVMLError:
        return None


async def wait_for_free_memory(
    gpus: GpuReader, footprint: Mapping[str, int], within_s: float = BACK_WITHIN_S
) -> Reason | None:
    """Wait until every device has the free memory that ``footprint`` (ppm) needs.

    Returns ``None``, or the reason after ``within_s`` seconds without it. vLLM checks its share against the
    free memory when it starts, so a start that does not wait for the previous model's memory fails.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while True:
        gaps = _gaps(gpus.read(), footprint)
        if not gaps:
            return None
        if loop.time() >= deadline:
            return Reason(
                summary="GPU memory was not freed",
                hint=f"{'; '.join(gaps)} after {within_s:g} s; run nvidia-smi to see which program holds it",
            )
        await asyncio.sleep(LOOK_EVERY_S)


def _gaps(readings: Mapping[str, GpuReading], footprint: Mapping[str, int]) -> list[str]:
    gaps = []
    for device, ppm in footprint.items():
        reading = reading_of(readings, device)
        if reading is None:
            continue  # a device that the driver does not show cannot be checked
        need_mib = reading.total_mib * max(0, ppm - SLACK_PPM) // PPM
        if reading.free_mib < need_mib:
            gaps.append(f"GPU {device} has {reading.free_mib} MiB free, {need_mib} MiB are needed")
    return gaps
