"""``hotseat doctor`` says what starts spent their time on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fakes.models import model, settings
from hotseat.core.spec import ModelSpec, StandbyMode
from hotseat.runtimes.process.spec import ProcessSpec
from hotseat.stack.doctor.check import CheckResult
from hotseat.stack.doctor.start_time import check_start_times
from hotseat.telemetry.history import FILE, History, RecordedStart, StartKind

PHASES = {"starting": 21.0, "loading weights": 6.0, "compiling": 4.0, "ready": 0.1}


def vllm(standby: StandbyMode = StandbyMode.OFF, **env: str) -> ModelSpec:
    made = replace(model("chat"), engine="vllm", launch=ProcessSpec(command=("vllm", "serve"), env=env))
    return replace(made, scheduling=replace(made.scheduling, standby=standby))


def checked(folder: Path, spec: ModelSpec, **seconds: float) -> list[CheckResult]:
    """What is said after these starts, by kind."""
    if seconds:
        history = History(folder / FILE, lambda trouble: None)
        for kind, took_s in seconds.items():
            phases = PHASES if kind == "cold" else {}
            history.record_start(
                RecordedStart(
                    model="chat", fingerprint="", kind=StartKind(kind), seconds=took_s, at=1.0, phases=phases
                )
            )
        history.close()
    made = settings(spec)
    return list(check_start_times(replace(made, serve=replace(made.serve, state_dir=str(folder)))))


def test_a_slow_plain_start_names_its_phases_and_what_saves_some(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, vllm(), cold=31.0)
    assert found.state == "warning"
    assert found.message == "31 s (starting 21 s, loading weights 6 s, compiling 4 s)"
    assert "standby: demand" in found.fix
    assert "VLLM_WORKER_MULTIPROC_METHOD" in found.fix


def test_what_is_set_already_is_not_advised(tmp_path: Path) -> None:
    spec = vllm(StandbyMode.DEMAND, VLLM_WORKER_MULTIPROC_METHOD="fork")
    (found,) = checked(tmp_path, spec, cold=31.0, standby=4.0)
    assert found.state == "ok"
    assert found.message.endswith("; 4 s from standby")


@pytest.mark.parametrize("seconds", [{}, {"wake": 1.0}])
def test_without_a_plain_start_nothing_is_said(tmp_path: Path, seconds: dict[str, float]) -> None:
    assert checked(tmp_path, vllm(), **seconds) == []


def test_a_quick_start_needs_no_advice(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, vllm(), cold=9.0)
    assert found.state == "ok"
