"""The GPU reader over a made-up NVML, in its old and new forms, and the wait for memory that is back."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.clock import run_virtual
from hotseat.probing.gpu import BACK_WITHIN_S, MIB, GpuReading, NvmlReader, open_gpus, wait_for_free_memory

GIB = 1024 * MIB


class NVMLError(Exception):
    """As NVML raises it."""


@dataclass
class Driver:
    """What ``pynvml`` is to us: a module of functions."""

    free: list[int] = field(default_factory=lambda: [24 * GIB])
    total: int = 24 * GIB
    name: str | bytes = "NVIDIA H100"
    busy: int | None = 37
    missing: bool = False
    """No driver at all."""
    lost: bool = False
    """It worked, and does not any more."""
    NVMLError: type[Exception] = NVMLError

    def nvmlInit(self) -> None:  # noqa: N802
        if self.missing:
            raise NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._check()
        return len(self.free)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        self._check()
        return index

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:  # noqa: N802
        self._check()
        return SimpleNamespace(total=self.total, free=self.free[device], used=self.total - self.free[device])

    def nvmlDeviceGetName(self, device: int) -> str | bytes:  # noqa: N802
        return self.name

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Any:  # noqa: N802
        if self.busy is None:
            raise NVMLError("Not Supported")
        return SimpleNamespace(gpu=self.busy, memory=1)

    def nvmlDeviceGetUUID(self, device: int) -> str:  # noqa: N802
        return f"GPU-{device}0000000-aaaa"

    def _check(self) -> None:
        if self.lost:
            raise NVMLError("GPU is lost")


@pytest.mark.parametrize("name", ["NVIDIA H100", b"NVIDIA H100"], ids=["new", "old"])
def test_a_device_is_read(name: str | bytes) -> None:
    gpus = NvmlReader(Driver(free=[10 * GIB, 24 * GIB], name=name))
    assert gpus.read()["0"] == GpuReading(
        device="0",
        name="NVIDIA H100",
        total_mib=24 * 1024,
        free_mib=10 * 1024,
        busy_percent=37,
        uuid="GPU-00000000-aaaa",
    )
    assert gpus.read()["0"].used_mib == 14 * 1024
    assert list(gpus.read()) == ["0", "1"]


def test_a_device_that_does_not_tell_how_busy_it_is() -> None:
    assert NvmlReader(Driver(busy=None)).read()["0"].busy_percent is None


def test_a_driver_that_is_lost_leaves_nothing_to_read() -> None:
    driver = Driver()
    gpus = NvmlReader(driver)
    driver.lost = True
    assert gpus.read() == {}
    driver.lost = False
    assert list(gpus.read()) == ["0"]


def test_without_the_package_or_without_a_driver_there_is_no_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_gpus() is None
    monkeypatch.setitem(sys.modules, "pynvml", Driver(missing=True))
    assert open_gpus() is None
    monkeypatch.setitem(sys.modules, "pynvml", Driver())
    opened = open_gpus()
    assert opened is not None
    assert list(opened.read()) == ["0"]


# The wait


def test_room_that_is_there_is_not_waited_for() -> None:
    async def story() -> None:
        assert await wait_for_free_memory(NvmlReader(Driver()), {"0": 900_000}) is None
        assert asyncio.get_running_loop().time() == 0

    run_virtual(story())


def test_the_drivers_own_share_is_not_asked_for() -> None:
    async def story() -> None:
        # all of a free device, less what the driver keeps for itself
        assert (
            await wait_for_free_memory(NvmlReader(Driver(free=[24 * GIB - 200 * MIB])), {"0": 1_000_000})
            is None
        )

    run_virtual(story())


def test_memory_of_a_device_that_is_named_by_its_uuid_is_waited_for_too() -> None:
    async def story() -> None:
        gpus = NvmlReader(Driver(free=[24 * GIB, 1 * GIB]))
        missing = await wait_for_free_memory(gpus, {"gpu-10000000-AAAA": 500_000}, 0)
        assert missing is not None
        assert await wait_for_free_memory(gpus, {"GPU-00000000-aaaa": 500_000}, 0) is None

    asyncio.run(story())


def test_memory_that_comes_back_late_is_waited_for() -> None:
    async def story() -> None:
        driver = Driver(free=[2 * GIB])
        loop = asyncio.get_running_loop()
        loop.call_later(7, driver.free.__setitem__, 0, 23 * GIB)
        assert await wait_for_free_memory(NvmlReader(driver), {"0": 900_000}) is None
        assert loop.time() == pytest.approx(7, abs=0.2)

    run_virtual(story())


def test_memory_that_does_not_come_back_is_said_and_not_waited_for_without_end() -> None:
    async def story() -> None:
        reason = await wait_for_free_memory(
            NvmlReader(Driver(free=[24 * GIB, 2 * GIB])), {"0": 900_000, "1": 700_000}
        )
        assert asyncio.get_running_loop().time() == pytest.approx(BACK_WITHIN_S, abs=0.2)
        assert reason is not None
        assert not reason.permanent
        assert reason.for_clients() == (
            "GPU memory was not freed: GPU 1 has 2048 MiB free, 16957 MiB are needed after 30 s; "
            "run nvidia-smi to see which program holds it"
        )

    run_virtual(story())


@pytest.mark.parametrize("lost", [True, False], ids=["driver-lost", "unknown-device"])
def test_what_cannot_be_read_does_not_hold_anything_up(lost: bool) -> None:
    async def story() -> None:
        gpus = NvmlReader(driver := Driver(free=[0]))
        driver.lost = lost
        assert await wait_for_free_memory(gpus, {"7": 900_000} if not lost else {"0": 900_000}) is None

    run_virtual(story())
