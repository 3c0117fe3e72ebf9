"""GPU devices and shares of their memory."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal

from hotseat.config.parsers.numbers import decimal
from hotseat.config_fields import names
from hotseat.core.spec import PPM

_DEVICE = re.compile(r"0|[1-9][0-9]{0,3}|(?:GPU|MIG)-[0-9A-Za-z/-]+")
_POOL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
SHARE = "a share of the whole GPU such as 0.90"
MOST_GPUS = 100_000
"""In one pool."""
TOO_MUCH = "a share lies between 0 and 1: 0.90 means 90 % of the GPU's memory"


def share(value: object) -> int:
    """Parse a share of one GPU's memory; parts per million, 0 to 1 000 000, exact, ties to even."""
    number = decimal(value)
    if number is None:
        raise ValueError(f"expected {SHARE}")
    if number < 0 or number > 1:
        raise ValueError(TOO_MUCH)
    return int((number * PPM).quantize(Decimal(1), ROUND_HALF_EVEN))


def amount(value: object) -> int:
    """Parse a share of one GPU's memory, or a whole number of a pool's GPUs; parts per million of one GPU."""
    number = decimal(value)
    if number is not None and 1 < number <= MOST_GPUS and number == number.to_integral_value():
        return int(number) * PPM
    return share(value)


def positive_share(value: object) -> int:
    """Parse a share greater than 0; parts per million."""
    parts = share(value)
    if not parts:
        raise ValueError("must be greater than 0")
    return parts


def footprint(value: object) -> dict[str, int] | int:
    """Parse an amount for every device, or a mapping of devices to amounts; parts per million."""
    if isinstance(value, dict):
        return {device: amount(part) for device, part in value.items()}
    return amount(value)


def devices(value: object) -> tuple[str, ...]:
    """Parse one device or a list of devices."""
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(isinstance(one, str | int) and not isinstance(one, bool) for one in listed):
        raise ValueError("expected a device such as 0, or a list of devices")
    return names([_device(str(one)) for one in listed])


def _device(name: str) -> str:
    """Check a device's name: its index, or its UUID as ``nvidia-smi -L`` shows it."""
    if not _DEVICE.fullmatch(name.strip()):
        raise ValueError(
            "expected a device's index such as 0, or its UUID (GPU-… or MIG-…, see nvidia-smi -L)"
        )
    return name.strip()


def budgets(value: object) -> dict[str, int] | tuple[str, ...]:
    """Parse a list of devices, or a mapping of devices to their budgets in parts per million.

    Other names than those of devices are pools of a cluster, with a whole number of GPUs.
    """
    if isinstance(value, dict) and value:
        return {_budgeted(str(device), part): _budget(str(device), part) for device, part in value.items()}
    if isinstance(value, list) and value:
        return devices(value)
    raise ValueError(
        "expected a list of devices such as [0, 1], or a budget for each such as {0: 0.90, 1: 0.50}"
    )


def is_pool(device: str) -> bool:
    """Whether this is the name of a cluster's pool of GPUs, and not of one GPU of this machine."""
    return not _DEVICE.fullmatch(device)


def _budgeted(name: str, part: object) -> str:
    """Check the name of a device or, where its budget is a number of whole GPUs, of a pool."""
    number = decimal(part)
    if number is not None and number >= 1 and _POOL.fullmatch(name):
        return name
    return _device(name)


def _budget(device: str, value: object) -> int:
    return amount(value) if is_pool(device) else positive_share(value)
