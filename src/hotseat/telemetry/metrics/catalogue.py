"""Every metric: its name, kind, labels and what it says. The reference page is printed from this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

START_BOUNDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0)
WAIT_BOUNDS = (0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
REQUEST_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRST_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 30.0, 60.0, 120.0, 300.0)
BETWEEN_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, as its table row; histograms have ``bounds``, in the unit of the name."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "summary"]
    labels: tuple[str, ...]
    help: str
    bounds: tuple[float, ...] = ()


_ALL = (
    Metric("hotseat_info", "gauge", ("version",), "Always 1; the version of hotseat."),
    Metric(
        "hotseat_model_state", "gauge", ("model", "state"), "1 for the state that the model is in, else 0."
    ),
    Metric("hotseat_model_in_flight", "gauge", ("model",), "Requests that hold a lease on the model now."),
    Metric("hotseat_queue_depth", "gauge", ("model",), "Requests that wait for the model now."),
    Metric(
        "hotseat_model_last_hit_timestamp_seconds",
        "gauge",
        ("model",),
        "When the model was last asked or its last answer ended, in Unix time; 0 if never.",
    ),
    Metric(
        "hotseat_model_failures_in_a_row",
        "gauge",
        ("model",),
        "Failed starts and crashes since the model last worked.",
    ),
    Metric(
        "hotseat_model_footprint_ratio",
        "gauge",
        ("model", "device"),
        "Share of the device's memory that is counted for the model now.",
    ),
    Metric(
        "hotseat_budget_ratio",
        "gauge",
        ("device",),
        "Share of the device's memory that all models may take together.",
    ),
    Metric("hotseat_runtime_usable", "gauge", ("runtime",), "Whether the runtime can start and stop models."),
    Metric(
        "hotseat_gpu_memory_used_bytes",
        "gauge",
        ("device", "name"),
        "GPU memory in use, by everybody (NVML; absent without a driver or nvidia-ml-py).",
    ),
    Metric("hotseat_gpu_memory_total_bytes", "gauge", ("device", "name"), "GPU memory of the device."),
    Metric(
        "hotseat_gpu_utilization_ratio",
        "gauge",
        ("device", "name"),
        "Share of the last moments in which the GPU was busy (absent where the driver does not tell).",
    ),
    Metric(
        "hotseat_launches_total", "counter", ("model",), "Launches that were ordered, failed ones included."
    ),
    Metric(
        "hotseat_start_duration_seconds",
        "histogram",
        ("model", "kind"),
        "From the order to the passed probe, for each start that ended well. kind: cold; warm (started "
        "before with the same configuration since the machine booted, so files may be cached); wake (from "
        "sleep).",
        START_BOUNDS,
    ),
    Metric(
        "hotseat_start_phase_seconds",
        "summary",
        ("model", "phase"),
        "How long each phase of starts took, as far as the server's own output tells them apart.",
    ),
    Metric(
        "hotseat_failures_total",
        "counter",
        ("model", "cause"),
        "Runs that failed: start_failed, start_timeout, crashed, unhealthy, wake_failed, sleep_failed.",
    ),
    Metric(
        "hotseat_swaps_total",
        "counter",
        ("from", "to"),
        "Times that a model gave up its seat (from) because another needed the room (to).",
    ),
    Metric("hotseat_idle_stops_total", "counter", ("model",), "Stops and sleeps because nobody asked."),
    Metric(
        "hotseat_requests_total",
        "counter",
        ("model", "code"),
        "Requests for a model that have ended, by HTTP status; 499: the client left before an answer.",
    ),
    Metric(
        "hotseat_requests_cut_total",
        "counter",
        ("model", "why"),
        "Requests whose answer is missing or not whole: upstream, truncated, gone, internal.",
    ),
    Metric(
        "hotseat_refusals_total",
        "counter",
        ("model", "reason"),
        "Requests that hotseat itself refused, by the code in its answer; model is empty where none was "
        "reached.",
    ),
    Metric("hotseat_request_bytes_total", "counter", ("model",), "Bytes of requests' bodies."),
    Metric("hotseat_response_bytes_total", "counter", ("model",), "Bytes of answers' bodies."),
    Metric("hotseat_tokens_in_total", "counter", ("model",), "Prompt tokens, where the server told them."),
    Metric(
        "hotseat_tokens_out_total", "counter", ("model",), "Generated tokens, where the server told them."
    ),
    Metric(
        "hotseat_queue_wait_seconds",
        "histogram",
        ("model",),
        "How long requests waited for their seat; nearly 0 where the model was ready.",
        WAIT_BOUNDS,
    ),
    Metric(
        "hotseat_request_duration_seconds",
        "histogram",
        ("model",),
        "From a request's header to the end of its answer.",
        REQUEST_BOUNDS,
    ),
    Metric(
        "hotseat_time_to_first_token_seconds",
        "histogram",
        ("model",),
        "From a request's header to the first byte of a streamed answer's body, the wait for the seat "
        "included.",
        FIRST_BOUNDS,
    ),
    Metric(
        "hotseat_inter_token_latency_seconds",
        "histogram",
        ("model",),
        "Mean time between the tokens of a streamed answer, one value for each request (where the server "
        "told how many tokens there were).",
        BETWEEN_BOUNDS,
    ),
)

CATALOGUE: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
"""All metrics by name. Besides these there are ``process_*`` and ``python_info`` of the client library."""


def series(metric: Metric) -> tuple[str, ...]:
    """The names of the series that a metric has in Prometheus."""
    if metric.kind == "histogram":
        return tuple(f"{metric.name}{suffix}" for suffix in ("_bucket", "_count", "_sum"))
    if metric.kind == "summary":
        return f"{metric.name}_count", f"{metric.name}_sum"
    return (metric.name,)


def reference() -> str:
    """``docs/reference/metrics.md``."""
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{name}`' for name in one.labels)} | {one.help} |"
        for one in _ALL
    ]
    return "\n".join([_INTRODUCTION, *rows, "", _MODELS])


_INTRODUCTION = """\
# Metrics

`GET /metrics` (admin key) in the Prometheus text format. Every configured model has its series from the
start, at 0, so that the first error of a model is already a change. Counters begin at 0 with hotseat.
The library adds `process_*` (CPU time, memory, open files) and `python_info`.

| metric | kind | labels | what it says |
|---|---|---|---|"""

_MODELS = """\
## Metrics of the models' own servers

`GET /metrics/models` asks every ready model's server for its own `/metrics` and returns them together, with
`model="…"` on each series; a label of that name that the server uses itself becomes `exported_model`.
`hotseat_model_metrics_up` says for each configured model whether its server was ready and answered (1) or
not (0). Nothing is started for it.
"""
