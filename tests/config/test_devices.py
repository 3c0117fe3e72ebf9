"""``devices`` reach the server, and what says otherwise is a problem of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hotseat.config import ConfigError, loads
from hotseat.core.spec import Settings

TWO = "gpu: {devices: [0, 1]}\n"
GPU_A, GPU_B = "GPU-11111111-aaaa-bbbb-cccc-000000000000", "GPU-22222222-aaaa-bbbb-cccc-000000000000"


def load(text: str, file: str = "f") -> Settings:
    return loads(text, file, {"HOME": "/h"})


def variables(keys: str, top: str = TWO, command: str = "run --port {port}") -> dict[str, str]:
    text = f"{top}state_dir: s\nmodels: {{m: {{command: '{command}', {keys}}}}}"
    program = load(text).models["m"].launch.program
    assert program is not None
    return dict(program.env)


def problem(keys: str, top: str = TWO, command: str = "run --port {port}") -> str:
    with pytest.raises(ConfigError) as caught:
        variables(keys, top, command)
    (found,) = caught.value.problems
    return str(found)


@pytest.mark.parametrize(
    ("top", "keys", "shown"),
    [
        ("", "devices: 0", "0"),
        (TWO, "devices: 0", "0"),
        (TWO, "devices: 1", "1"),
        (TWO, "devices: [1]", "1"),
        (TWO, "devices: ['1', '0']", "1,0"),
        (TWO, "footprint: {1: 0.5}", "1"),
        (TWO, "footprint: {0: 0, 1: 0.5}", "1"),
        (TWO, "", "0,1"),
        ("gpu: {devices: [1]}\n", "", "1"),
        ("gpu: {devices: {0: 0.9, 3: 0.5}}\n", "devices: 3", "3"),
    ],
)
def test_a_program_sees_the_devices_of_its_model_counted_as_nvidia_smi_does(
    top: str, keys: str, shown: str
) -> None:
    assert variables(keys, top) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": shown}


def test_uuids_and_mig_instances_are_shown_as_they_are() -> None:
    top = f"gpu: {{devices: [{GPU_A}, MIG-{GPU_B[4:]}, MIG-{GPU_A}/1/0]}}\n"
    assert variables(f"devices: {GPU_A}", top) == {"CUDA_VISIBLE_DEVICES": GPU_A}
    assert variables(f"devices: MIG-{GPU_A}/1/0", top) == {"CUDA_VISIBLE_DEVICES": f"MIG-{GPU_A}/1/0"}


def test_without_devices_in_the_file_nothing_is_set() -> None:
    assert variables("", "") == {}
    assert variables("env: {CUDA_VISIBLE_DEVICES: 1}", "") == {"CUDA_VISIBLE_DEVICES": "1"}


@pytest.mark.parametrize(
    ("keys", "command"),
    [
        ("devices: 1, env: {CUDA_VISIBLE_DEVICES: 0}", "run {port}"),
        ("devices: 1, env: {CUDA_VISIBLE_DEVICES: ''}", "run {port}"),
        ("devices: 1, env: {NVIDIA_VISIBLE_DEVICES: 0}", "run {port}"),
        ("devices: 1, env: {NVIDIA_VISIBLE_DEVICES: all}", "run {port}"),
        ("devices: 1, env: {HIP_VISIBLE_DEVICES: 0}", "run {port}"),
        ("devices: [0, 1], env: {CUDA_VISIBLE_DEVICES: 0}", "run {port}"),
        ("devices: 1, env: {CUDA_VISIBLE_DEVICES: GPU-1234}", "run {port}"),
        ("footprint: {1: 0.5}, env: {CUDA_VISIBLE_DEVICES: '0,1'}", "run {port}"),
        ("devices: 1", "env CUDA_VISIBLE_DEVICES=0 run {port}"),
        ("devices: 1", 'bash -c "CUDA_VISIBLE_DEVICES=0 exec run {port}"'),
        ("devices: 1", 'bash -c "export CUDA_VISIBLE_DEVICES=0; exec run {port}"'),
    ],
)
def test_variables_that_name_other_devices_are_a_problem(keys: str, command: str) -> None:
    assert "but the model's devices are" in problem(keys, command=command)


def test_variables_that_name_the_same_devices_are_none() -> None:
    assert variables("devices: [0, 1], env: {CUDA_VISIBLE_DEVICES: '1, 0'}") == {
        "CUDA_VISIBLE_DEVICES": "1, 0"
    }
    assert variables("env: {NVIDIA_VISIBLE_DEVICES: all}")["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert variables("devices: 1", command="env CUDA_VISIBLE_DEVICES=1 run {port}") == {}
    top = f"gpu: {{devices: [{GPU_A}, {GPU_B}]}}\n"
    short = {"CUDA_VISIBLE_DEVICES": "GPU-1111"}
    assert variables(f"devices: {GPU_A}, env: {{CUDA_VISIBLE_DEVICES: GPU-1111}}", top) == short


def test_devices_that_only_the_variable_names_are_the_models_devices() -> None:
    text = TWO + "state_dir: s\nmodels: {m: {command: 'run {port}', env: {CUDA_VISIBLE_DEVICES: 1}}}"
    assert load(text).models["m"].scheduling.footprint == {"1": 900_000}


def test_an_order_in_which_indices_mean_other_devices_is_a_problem() -> None:
    assert "CUDA counts devices differently" in problem("devices: 1, env: {CUDA_DEVICE_ORDER: FASTEST_FIRST}")
    top = f"gpu: {{devices: [{GPU_A}]}}\n"
    assert variables("env: {CUDA_DEVICE_ORDER: FASTEST_FIRST}", top)["CUDA_VISIBLE_DEVICES"] == GPU_A


@pytest.mark.parametrize("name", ["gpu0", "-1", "00", "GPU", "GPU-", "0,1", "cuda:0", "all"])
def test_what_is_no_device_is_told(name: str) -> None:
    assert "expected a device's index such as 0, or its UUID" in problem(f"devices: '{name}'")


# Compose


def compose(tmp_path: Path, service: str, keys: str = "devices: 1", top: str = TWO) -> list[str]:
    made = {"container_name": "box", **yaml.safe_load(service)}
    (tmp_path / "compose.yml").write_text(yaml.safe_dump({"services": {"one": made}}))
    (tmp_path / ".env").write_text("GPU=1\n")
    text = f"{top}state_dir: s\nmodels: {{m: {{container: box, compose: compose.yml, {keys}}}}}"
    try:
        load(text, str(tmp_path / "hotseat.yaml"))
    except ConfigError as error:
        return [str(one) for one in error.problems]
    return []


def reserved(device: str) -> str:
    return (
        "deploy: {resources: {reservations: {devices: [{driver: nvidia, capabilities: [gpu], "
        + device
        + "}]}}}"
    )


@pytest.mark.parametrize(
    "service",
    [
        reserved("device_ids: ['0']"),
        reserved("device_ids: ['0', '1']"),
        reserved("count: 1"),
        reserved("count: all"),
        reserved("count: 2"),
        "gpus: all",
        "gpus: [{count: 1}]",
        "gpus: [{device_ids: ['0']}]",
        "{runtime: nvidia, environment: {NVIDIA_VISIBLE_DEVICES: 0}}",
        "{runtime: nvidia, environment: [NVIDIA_VISIBLE_DEVICES=all]}",
        "{gpus: all, environment: {CUDA_VISIBLE_DEVICES: 0}}",
        "devices: ['nvidia.com/gpu=0']",
    ],
)
def test_a_compose_file_that_gives_other_devices_is_a_problem(tmp_path: Path, service: str) -> None:
    (found,) = compose(tmp_path, service)
    assert "but the model's devices are 1" in found
    assert "device_ids: ['1']" in found


@pytest.mark.parametrize(
    "service",
    [
        reserved("device_ids: ['1']"),
        reserved("device_ids: ['${GPU}']"),
        reserved("device_ids: ['1'], count: 1"),
        "{gpus: all, environment: {CUDA_VISIBLE_DEVICES: 1}}",
        "{gpus: [{device_ids: ['1']}], environment: {CUDA_VISIBLE_DEVICES: 0}}",
        "{runtime: nvidia, environment: {NVIDIA_VISIBLE_DEVICES: 1}}",
        "devices: ['nvidia.com/gpu=1']",
        "{image: x}",
    ],
)
def test_a_compose_file_that_gives_the_same_devices_is_none(tmp_path: Path, service: str) -> None:
    assert compose(tmp_path, service) == []


def test_all_gpus_are_right_for_a_model_on_all_devices(tmp_path: Path) -> None:
    assert compose(tmp_path, "gpus: all", keys="devices: [0, 1]") == []
    assert compose(tmp_path, reserved("count: 1"), keys="devices: 0", top="") == []
