"""The table of all metrics with their names, kinds, labels and help; the reference page is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

START_BOUNDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0)
WAIT_BOUNDS = (0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
REQUEST_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRST_TOKEN_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 30.0, 60.0, 120.0, 300.0)
INTER_TOKEN_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Histograms have ``bounds``, in the unit that the name ends with."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "summary"]
    labels: tuple[str, ...]
    help: str
    bounds: tuple[float, ...] = ()


_ALL = (
    Metric("hotseat_info", "gauge", ("version",), "Always 1; the version of hotseat."),
    Metric(
        "hotseat_model_state",
        "gauge",
        ("model", "state"),
        "1 for the state that the model is in, else 0.",
    ),
    Metric("hotseat_model_in_flight", "gauge", ("model",), "Requests that the model is answering now."),
    Metric("hotseat_queue_depth", "gauge", ("model",), "Requests that are waiting for the model now."),
    Metric(
        "hotseat_model_last_hit_timestamp_seconds",
        "gauge",
        ("model",),
        "When the model last got a request or ended an answer, in Unix time; 0 if never.",
    ),
    Metric(
        "hotseat_model_failures_in_a_row",
        "gauge",
        ("model",),
        "Failed starts and crashes since the model was last ready.",
    ),
    Metric(
        "hotseat_model_footprint_ratio",
        "gauge",
        ("model", "device"),
        "Share of the device's memory that is reserved for the model now.",
    ),
    Metric(
        "hotseat_budget_ratio",
        "gauge",
        ("device",),
        "Share of the device's memory that all models together may use.",
    ),
    Metric("hotseat_runtime_usable", "gauge", ("runtime",), "Whether the runtime can start and stop models."),
    Metric(
        "hotseat_gpu_memory_used_bytes",
        "gauge",
        ("device", "name"),
        "GPU memory in use by all processes (from NVML; absent without a driver or nvidia-ml-py).",
    ),
    Metric("hotseat_gpu_memory_total_bytes", "gauge", ("device", "name"), "GPU memory of the device."),
    Metric(
        "hotseat_gpu_utilization_ratio",
        "gauge",
        ("device", "name"),
        "Share of the last sample period in which the GPU was busy (absent if the driver does not say).",
    ),
    Metric("hotseat_launches_total", "counter", ("model",), "Launches, including failed ones."),
    Metric(
        "hotseat_start_duration_seconds",
        "histogram",
        ("model", "kind"),
        "Time from the launch to the passed readiness probe, for each successful start. kind: cold; warm "
        "(started before with the same configuration since the machine booted, so files may be cached); wake "
        "(from sleep).",
        START_BOUNDS,
    ),
    Metric(
        "hotseat_start_phase_seconds",
        "summary",
        ("model", "phase"),
        "Time that each phase of a start took, as far as the server's own log shows phases.",
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
        "Evictions: how often one model (from) had to leave GPU memory for another (to).",
    ),
    Metric(
        "hotseat_idle_stops_total",
        "counter",
        ("model",),
        "How often the model was stopped or put to sleep because it was idle.",
    ),
    Metric(
        "hotseat_requests_total",
        "counter",
        ("model", "code"),
        "Finished requests for a model, by HTTP status. 499: the client disconnected before the answer.",
    ),
    Metric(
        "hotseat_requests_cut_total",
        "counter",
        ("model", "why"),
        "Requests without a complete answer. why: upstream (the server failed), truncated (its answer ended "
        "early), gone (the client disconnected), internal.",
    ),
    Metric(
        "hotseat_refusals_total",
        "counter",
        ("model", "reason"),
        "Requests that hotseat itself refused, by error code; model is empty if the request named none that "
        "exists.",
    ),
    Metric("hotseat_request_bytes_total", "counter", ("model",), "Bytes of request bodies."),
    Metric("hotseat_response_bytes_total", "counter", ("model",), "Bytes of response bodies."),
    Metric("hotseat_tokens_in_total", "counter", ("model",), "Prompt tokens, as far as servers report them."),
    Metric(
        "hotseat_tokens_out_total", "counter", ("model",), "Generated tokens, as far as servers report them."
    ),
    Metric(
        "hotseat_queue_wait_seconds",
        "histogram",
        ("model",),
        "Time that requests waited for their model; nearly 0 if it was ready.",
        WAIT_BOUNDS,
    ),
    Metric(
        "hotseat_request_duration_seconds",
        "histogram",
        ("model",),
        "Time from a request's header to the end of its response.",
        REQUEST_BOUNDS,
    ),
    Metric(
        "hotseat_time_to_first_token_seconds",
        "histogram",
        ("model",),
        "Time from a request's header to the first byte of a streamed response body, including the wait for "
        "the model.",
        FIRST_TOKEN_BOUNDS,
    ),
    Metric(
        "hotseat_inter_token_latency_seconds",
        "histogram",
        ("model",),
        "Mean time between the tokens of a streamed response, one value per request (if the server reports "
        "the number of tokens).",
        INTER_TOKEN_BOUNDS,
    ),
)

CATALOGUE: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
"""All metrics by name. The client library adds ``process_*`` and ``python_info``."""


def series(metric: Metric) -> tuple[str, ...]:
    """Return the names of the series that a metric has in Prometheus."""
    if metric.kind == "histogram":
        return tuple(f"{metric.name}{suffix}" for suffix in ("_bucket", "_count", "_sum"))
    if metric.kind == "summary":
        return f"{metric.name}_count", f"{metric.name}_sum"
    return (metric.name,)


def reference() -> str:
    """Return the text of ``docs/reference/metrics.md``."""
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{name}`' for name in one.labels)} | {one.help} |"
        for one in _ALL
    ]
    return "\n".join([_INTRODUCTION, *rows, "", _MODELS])


_INTRODUCTION = """\
# Metrics

`GET /metrics` (admin key) returns these in the Prometheus text format. Every configured model has its series
from the start, at 0, so that a model's first error already shows as an increase. Counters restart at 0 with
hotseat. The client library adds `process_*` (CPU time, memory, open files) and `python_info`.

| metric | kind | labels | meaning |
|---|---|---|---|"""

_MODELS = """\
## Metrics of the models' own servers

`GET /metrics/models` scrapes the `/metrics` of every ready model's server and returns all of them, with
`model="…"` on each series; a server's own label of that name becomes `exported_model`.
`hotseat_model_metrics_up` is 1 for each configured model whose server was ready and answered, else 0.
Scraping starts no model.
"""
