"""The text that Prometheus reads."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from hotseat.core.model_state import ModelState
from hotseat.core.spec import SchedulingSpec
from hotseat.core.states import State
from hotseat.core.views import ModelView
from hotseat.engines import vllm
from hotseat.probing.gpu import GpuReading
from hotseat.telemetry.metrics import CATALOGUE, Metrics, MetricsSnapshot, expose
from hotseat.telemetry.metrics.catalogue import reference, series
from hotseat.telemetry.metrics.counters import USUAL_PHASES

ROOT = Path(__file__).resolve().parents[3]
DASHBOARD = ROOT / "deploy" / "monitoring" / "grafana" / "dashboards" / "hotseat.json"
GPU = GpuReading(device="0", name='NVIDIA "RTX" 4090', total_mib=24564, free_mib=4564, busy_percent=37)


def view(name: str) -> ModelView:
    return ModelState(SchedulingSpec(name=name, footprint={"0": 600_000})).view()


def shown(metrics: Metrics, **terms: Any) -> bytes:
    views = {name: view(name) for name in metrics.models}
    whole = {"views": views, "now": 100.0, "wall_clock": 1_000_000.0, "budget": {"0": 900_000}}
    return expose(
        metrics, MetricsSnapshot(**{**whole, "runtimes": {"docker": False}, "devices": [GPU], **terms})
    )


def families(text: bytes) -> Mapping[str, Metric]:
    return {one.name: one for one in text_string_to_metric_families(text.decode())}


def value(text: bytes, name: str, /, **labels: str) -> float:
    found = [
        sample.value
        for family in families(text).values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def test_everything_of_the_catalogue_is_there_with_its_labels_from_the_start() -> None:
    text = shown(Metrics(["chat", "coder"]))
    seen: dict[str, set[str]] = {}
    for family in families(text).values():
        for sample in family.samples:
            seen.setdefault(sample.name, set()).update(sample.labels)
    for metric in CATALOGUE.values():
        for name in series(metric):
            assert set(metric.labels) <= seen.get(name, set()), name
    assert "process_cpu_seconds_total" in seen


def test_every_model_has_its_zeroes() -> None:
    text = shown(Metrics(["chat", "coder"]))
    for model in ("chat", "coder"):
        assert value(text, "hotseat_requests_total", model=model, code="503") == 0
        assert value(text, "hotseat_refusals_total", model=model, reason="queue_full") == 0
        assert value(text, "hotseat_failures_total", model=model, cause="crashed") == 0
        assert value(text, "hotseat_start_duration_seconds_count", model=model, kind="wake") == 0
        states = {s: value(text, "hotseat_model_state", model=model, state=s) for s in State}
        assert states == {s: float(s is State.STOPPED) for s in State}
    assert value(text, "hotseat_swaps_total", **{"from": "chat", "to": "coder"}) == 0


def test_every_phase_that_servers_tell_has_its_zero() -> None:
    told = {phase for _, phase in vllm.PHASES} - {"ready"}
    assert told < set(USUAL_PHASES)
    text = shown(Metrics(["chat"]))
    for phase in told:
        assert value(text, "hotseat_start_phase_seconds_count", model="chat", phase=phase) == 0


def test_units_are_the_ones_of_the_names() -> None:
    metrics = Metrics(["chat"])
    used = view("chat")
    hit = ModelView(**{name: getattr(used, name) for name in ModelView.__slots__} | {"last_used": 40.0})
    text = shown(metrics, views={"chat": hit})
    labels = {"device": "0", "name": GPU.name}
    assert value(text, "hotseat_gpu_memory_used_bytes", **labels) == 20000 * 1024 * 1024
    assert value(text, "hotseat_gpu_utilization_ratio", **labels) == 0.37
    assert value(text, "hotseat_budget_ratio", device="0") == 0.9
    assert value(text, "hotseat_runtime_usable", runtime="docker") == 0
    assert value(text, "hotseat_model_last_hit_timestamp_seconds", model="chat") == 1_000_000 - 60


def test_a_driver_that_does_not_tell_leaves_a_gap_and_no_lie() -> None:
    blind = GpuReading(device="0", name="x", total_mib=1, free_mib=1, busy_percent=None)
    assert not families(shown(Metrics(["chat"]), devices=[blind]))["hotseat_gpu_utilization_ratio"].samples


def test_histograms_are_whole() -> None:
    metrics = Metrics(["chat"])
    metrics.started("chat", "cold", 7.0, {"starting": 7.0})
    metrics.started("chat", "cold", 1e6, {})
    text = shown(metrics)
    name, labels = "hotseat_start_duration_seconds", {"model": "chat", "kind": "cold"}
    assert value(text, f"{name}_bucket", le="5.0", **labels) == 0
    assert value(text, f"{name}_bucket", le="10.0", **labels) == 1
    assert value(text, f"{name}_bucket", le="+Inf", **labels) == value(text, f"{name}_count", **labels) == 2
    assert value(text, f"{name}_sum", **labels) == 1e6 + 7
    assert value(text, "hotseat_start_phase_seconds_sum", model="chat", phase="starting") == 7


@pytest.mark.system("promtool")
def test_promtool_finds_nothing_to_say() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=shown(Metrics(["chat", "coder"])), capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_dashboard_asks_for_nothing_that_is_not_there() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    told = {
        sample.name for family in families(shown(Metrics(["a", "b"]))).values() for sample in family.samples
    }
    told |= {name for metric in CATALOGUE.values() for name in series(metric)}
    asked = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    asked += [v["definition"] for v in dashboard["templating"]["list"]]
    assert len(asked) > 20
    for query in asked:
        names = re.findall(r"\b((?:hotseat|process|python)_\w+)", query)
        assert names, query
        assert set(names) <= told, query


def test_the_dashboard_groups_by_labels_that_are_there() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            names = re.findall(r"\b(hotseat_\w+)", target["expr"])
            owners = [m for m in CATALOGUE.values() if set(series(m)) & set(names)]
            known = {"le", "job"}.union(*(metric.labels for metric in owners))
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            used |= {w.strip() for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for w in by.split(",")}
            assert used <= known, target["expr"]


def test_the_reference_names_every_metric() -> None:
    page = reference()
    assert all(f"| `{name}` |" in page for name in CATALOGUE)
