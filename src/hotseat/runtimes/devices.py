"""GPU devices as CUDA, the NVIDIA container toolkit and the configuration name them.

Source of the forms: CUDA's documentation of ``CUDA_VISIBLE_DEVICES`` (indices, UUIDs and unique beginnings of
them, MIG instances) and the container toolkit's of ``NVIDIA_VISIBLE_DEVICES`` (the same, ``all``, ``none``,
``void``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

VISIBLE = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
"""Variables that say which devices a program sees."""
ORDER = "CUDA_DEVICE_ORDER"
BY_BUS = "PCI_BUS_ID"
"""The value of ``CUDA_DEVICE_ORDER`` with which CUDA counts devices as ``nvidia-smi`` does."""
ALL = "all"
_INDEX = re.compile(r"0|[1-9][0-9]{0,3}")
_CDI = re.compile(r"[\w.-]+/[\w.-]+=")


def is_index(device: str) -> bool:
    """Whether a device is named by its index."""
    return _INDEX.fullmatch(device) is not None


def listed(text: str) -> tuple[str, ...]:
    """Return the devices in the value of such a variable; ``("all",)`` for all, empty for none."""
    devices = [part.strip() for part in text.split(",") if part.strip()]
    if devices == [ALL]:
        return (ALL,)
    if devices in (["none"], ["void"], ["NoDevFiles"]):
        return ()
    return tuple(devices)


def without_kind(device: str) -> str:
    """Return the device of a CDI name: ``0`` for ``nvidia.com/gpu=0``."""
    return _CDI.sub("", device)


def same(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists name the same devices, in whatever order; a UUID's beginning stands for it."""
    return len(one) == len(other) and all(any(_equal(a, b) for b in other) for a in one)


def _equal(one: str, other: str) -> bool:
    if is_index(one) or is_index(other):
        return one == other
    short, long = sorted((one.lower(), other.lower()), key=len)
    return long.startswith(short) and len(short) > len("GPU-")
