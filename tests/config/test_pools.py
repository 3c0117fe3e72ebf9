"""Pools of GPUs: what a cluster has, counted in whole GPUs."""

from __future__ import annotations

import pytest

from hotseat.config import ConfigError, loads

POOLS = "gpu: {devices: {a100: 16, l4: 4}}\nmodels: {chat: {workload: deployment/chat%s}}"


def footprint(text: str) -> dict[str, int]:
    return dict(loads(text, "/etc/hotseat.yaml", {"HOME": "/home/me"}).models["chat"].scheduling.footprint)


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loads(text, "/etc/hotseat.yaml", {"HOME": "/home/me"})
    return "\n".join(map(str, caught.value.problems))


def test_a_pool_has_so_many_gpus_and_a_footprint_counts_them() -> None:
    text = POOLS % ", footprint: {a100: 2}"
    assert footprint(text) == {"a100": 2_000_000}
    settings = loads(text, "/etc/hotseat.yaml", {"HOME": "/home/me"})
    assert settings.scheduler.budget == {"a100": 16_000_000, "l4": 4_000_000}


def test_a_model_takes_one_gpu_where_it_does_not_say() -> None:
    assert footprint("gpu: {devices: {a100: 16}}\nmodels: {chat: {runtime: kubernetes}}") == {
        "a100": 1_000_000
    }


def test_more_than_the_pool_has_is_refused() -> None:
    told = problem(POOLS % ", footprint: {l4: 8}")
    assert "needs 8 GPUs of device l4, but its budget is 4 GPUs" in told


def test_a_gpu_of_this_machine_is_no_pool() -> None:
    assert "a share lies between 0 and 1" in problem(
        "gpu: {devices: {0: 16}}\nmodels: {a: {command: 'x {port}'}}"
    )
    assert "a share lies between 0 and 1" in problem("models: {a: {command: 'x {port}', footprint: 2}}")
    assert "a share lies between 0 and 1" in problem("models: {a: {command: 'x {port}', footprint: 90}}")


@pytest.mark.parametrize(
    "devices", ["{a100: 1.5}", "{a100: 0}", "{A100: 4}", "{a_100: 4}", "{gpu0: 0.9}", "{a100: -1}"]
)
def test_what_is_neither_device_nor_pool_is_refused(devices: str) -> None:
    assert "gpu.devices" in problem(f"gpu: {{devices: {devices}}}\nmodels: {{a: {{runtime: kubernetes}}}}")


def test_a_model_of_this_machine_cannot_use_a_pool() -> None:
    text = "gpu: {devices: {0: 0.9, a100: 16}}\nmodels: {a: {command: 'x {port}', footprint: {a100: 1}}}"
    assert "a100 is a pool of a cluster, and this model runs on this machine (process)" in problem(text)


def test_each_runtime_has_its_own_devices_by_default() -> None:
    text = (
        "gpu: {devices: {0: 0.9, a100: 16}}\nmodels: {chat: {runtime: kubernetes}, b: {command: 'x {port}'}}"
    )
    settings = loads(text, "/etc/hotseat.yaml", {"HOME": "/home/me"})
    assert settings.models["chat"].scheduling.footprint == {"a100": 1_000_000}
    assert settings.models["b"].scheduling.footprint == {"0": 900_000}


def test_a_lease_wants_models_that_are_left_running() -> None:
    assert "write on_exit: leave" in problem("lease: hotseat\nmodels: {a: {runtime: kubernetes}}")


@pytest.mark.parametrize(
    "keys", ["workload: 'pod/x'", "workload: 'deployment/Bad'", "namespace: 'No'", "port: 70000"]
)
def test_what_kubernetes_would_refuse_is_refused(keys: str) -> None:
    assert "models.a" in problem(f"models: {{a: {{runtime: kubernetes, {keys}}}}}")
