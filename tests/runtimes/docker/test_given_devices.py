"""The GPU devices that a container was created with, as ``docker inspect`` shows them."""

from __future__ import annotations

from typing import Any

import pytest

from hotseat.runtimes.docker.devices import contradiction, given_by_inspection


def inspected(env: tuple[str, ...] = (), runtime: str = "runc", **request: Any) -> dict[str, Any]:
    asked = {"Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": [["gpu"]], **request}
    requests = [asked] if request else None
    return {"HostConfig": {"DeviceRequests": requests, "Runtime": runtime}, "Config": {"Env": list(env)}}


@pytest.mark.parametrize(
    ("found", "given"),
    [
        (inspected(), None),
        (inspected(Count=-1), ("all",)),
        (inspected(Count=2), ("0", "1")),
        (inspected(DeviceIDs=["1"]), ("1",)),
        (inspected(DeviceIDs=["GPU-abc"]), ("GPU-abc",)),
        (inspected(Driver="cdi", DeviceIDs=["nvidia.com/gpu=1"], Capabilities=None), ("1",)),
        (inspected(Count=1, Capabilities=[["tpu"]]), None),
        (inspected(("NVIDIA_VISIBLE_DEVICES=1",), "nvidia"), ("1",)),
        (inspected(("NVIDIA_VISIBLE_DEVICES=all",)), None),
        (inspected(("NVIDIA_VISIBLE_DEVICES=void",), "nvidia"), ()),
        (inspected(("CUDA_VISIBLE_DEVICES=1",), Count=-1), ("1",)),
        (inspected(("CUDA_VISIBLE_DEVICES=0",), DeviceIDs=["3"]), ("3",)),
    ],
)
def test_what_a_container_is_given(found: dict[str, Any], given: tuple[str, ...] | None) -> None:
    assert given_by_inspection(found) == given


def test_a_contradiction_names_both() -> None:
    assert contradiction(("0",), ("1",), every=False) == "GPU 0, but the model's devices are 1"
    assert contradiction(("all",), ("1",), every=False) == "all GPUs, but the model's devices are 1"
    assert contradiction((), ("1",), every=False) == "no GPU, but the model's devices are 1"
    assert contradiction(("1", "0"), ("0", "1"), every=True) is None
    assert contradiction(("all",), ("0", "1"), every=True) is None
    assert contradiction(None, ("1",), every=False) is None
