"""Renders the counters in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from hotseat import __version__
from hotseat.core.spec import PPM
from hotseat.core.states import State
from hotseat.core.views import ModelView
from hotseat.telemetry.metrics.catalogue import CATALOGUE
from hotseat.telemetry.metrics.counters import Distribution, Metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MIB = 1024 * 1024


class DeviceMemory(Protocol):
    """Readings of a GPU that are exposed (``probing.gpu.GpuReading`` has them)."""

    @property
    def device(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def total_mib(self) -> int: ...
    @property
    def used_mib(self) -> int: ...
    @property
    def busy_percent(self) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSnapshot:
    """The state of models, runtimes and GPUs at the time of a scrape."""

    views: Mapping[str, ModelView]
    now: float
    """The scheduler's clock, which times in ``views`` refer to, in seconds."""
    wall_clock: float
    """The same moment in Unix time."""
    budget: Mapping[str, int]
    """Parts per million of memory, by device."""
    runtimes: Mapping[str, bool] = field(default_factory=dict)
    """Whether each runtime is usable."""
    devices: Sequence[DeviceMemory] = ()


Labelled = Iterable[tuple[Sequence[str], float]]
"""Label values, in the catalogue's order, with the sample's value."""


class _Collector(Collector):
    """Makes the metric families of one scrape."""

    def __init__(self, metrics: Metrics, snapshot: MetricsSnapshot) -> None:
        self._metrics, self._snapshot = metrics, snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield every family of the catalogue."""
        yield from self._state()
        yield from self._gpus()
        yield from self._lifecycle()
        yield from self._requests()

    def _state(self) -> Iterator[Metric]:
        now, views = self._snapshot, self._snapshot.views
        yield _gauge("hotseat_info", [([__version__], 1)])
        yield _gauge(
            "hotseat_model_state",
            [([name, state], float(view.state is state)) for name, view in views.items() for state in State],
        )
        yield _gauge("hotseat_model_in_flight", [([name], view.in_flight) for name, view in views.items()])
        yield _gauge("hotseat_queue_depth", [([name], view.waiting) for name, view in views.items()])
        yield _gauge(
            "hotseat_model_last_hit_timestamp_seconds",
            [
                (
                    [name],
                    0.0 if view.last_used is None else now.wall_clock - (now.now - view.last_used),
                )
                for name, view in views.items()
            ],
        )
        yield _gauge(
            "hotseat_model_failures_in_a_row", [([name], view.failures) for name, view in views.items()]
        )
        devices = {device: None for view in views.values() for device in view.footprint}
        devices.update(dict.fromkeys(now.budget))
        yield _gauge(
            "hotseat_model_footprint_ratio",
            [
                ([name, device], view.footprint.get(device, 0) / PPM)
                for name, view in views.items()
                for device in devices
            ],
        )
        yield _gauge("hotseat_budget_ratio", [([device], ppm / PPM) for device, ppm in now.budget.items()])
        yield _gauge("hotseat_runtime_usable", [([name], float(ok)) for name, ok in now.runtimes.items()])

    def _gpus(self) -> Iterator[Metric]:
        devices = self._snapshot.devices
        labels = {gpu.device: [gpu.device, gpu.name] for gpu in devices}
        used = [(labels[gpu.device], float(gpu.used_mib * MIB)) for gpu in devices]
        total = [(labels[gpu.device], float(gpu.total_mib * MIB)) for gpu in devices]
        busy = [
            (labels[gpu.device], gpu.busy_percent / 100) for gpu in devices if gpu.busy_percent is not None
        ]
        yield _gauge("hotseat_gpu_memory_used_bytes", used)
        yield _gauge("hotseat_gpu_memory_total_bytes", total)
        yield _gauge("hotseat_gpu_utilization_ratio", busy)

    def _lifecycle(self) -> Iterator[Metric]:
        models, views = self._metrics.models.items(), self._snapshot.views.items()
        yield _counter("hotseat_launches_total", [([name], view.starts) for name, view in views])
        yield _histogram(
            "hotseat_start_duration_seconds",
            [
                ([name, kind], distribution)
                for name, counts in models
                for kind, distribution in counts.starts.items()
            ],
        )
        yield _summary(
            "hotseat_start_phase_seconds",
            [([name, phase], *seen) for name, counts in models for phase, seen in counts.phases.items()],
        )
        yield _counter(
            "hotseat_failures_total",
            [([name, cause], times) for name, counts in models for cause, times in counts.failures.items()],
        )
        yield _counter("hotseat_swaps_total", self._metrics.swaps.items())
        yield _counter("hotseat_idle_stops_total", [([name], view.idle_stops) for name, view in views])

    def _requests(self) -> Iterator[Metric]:
        models = self._metrics.models.items()
        yield _counter(
            "hotseat_requests_total",
            [([name, str(code)], times) for name, counts in models for code, times in counts.codes.items()],
        )
        yield _counter(
            "hotseat_requests_cut_total",
            [([name, why], times) for name, counts in models for why, times in counts.cuts.items()],
        )
        refusals = [([name, why], n) for name, counts in models for why, n in counts.refusals.items()]
        refusals += [(["", why], n) for why, n in self._metrics.unrouted.items()]
        yield _counter("hotseat_refusals_total", refusals)
        yield _counter("hotseat_request_bytes_total", [([name], counts.bytes_in) for name, counts in models])
        yield _counter(
            "hotseat_response_bytes_total", [([name], counts.bytes_out) for name, counts in models]
        )
        yield _counter("hotseat_tokens_in_total", [([name], counts.tokens_in) for name, counts in models])
        yield _counter("hotseat_tokens_out_total", [([name], counts.tokens_out) for name, counts in models])
        yield _histogram("hotseat_queue_wait_seconds", [([name], counts.waits) for name, counts in models])
        yield _histogram(
            "hotseat_request_duration_seconds", [([name], counts.durations) for name, counts in models]
        )
        yield _histogram(
            "hotseat_time_to_first_token_seconds", [([name], counts.first_tokens) for name, counts in models]
        )
        yield _histogram(
            "hotseat_inter_token_latency_seconds", [([name], counts.inter_tokens) for name, counts in models]
        )


def expose(metrics: Metrics, snapshot: MetricsSnapshot) -> bytes:
    """Render all metrics, including those of this process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics, snapshot))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return generate_latest(registry)


def _gauge(name: str, values: Labelled) -> Metric:
    metric = CATALOGUE[name]
    family = GaugeMetricFamily(name, metric.help, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _counter(name: str, values: Labelled) -> Metric:
    metric = CATALOGUE[name]
    family = CounterMetricFamily(name, metric.help, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _summary(name: str, values: Iterable[tuple[Sequence[str], int, float]]) -> Metric:
    metric = CATALOGUE[name]
    family = SummaryMetricFamily(name, metric.help, labels=metric.labels)
    for labels, count, total in values:
        family.add_metric(labels, count, total)
    return family


def _histogram(name: str, values: Iterable[tuple[Sequence[str], Distribution]]) -> Metric:
    metric = CATALOGUE[name]
    family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
    for labels, distribution in values:
        family.add_metric(labels, _buckets(distribution), distribution.total)
    return family


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    """Make the cumulative buckets that Prometheus expects."""
    buckets, cumulative = [], 0
    for bound, count in zip([*map(str, distribution.bounds), "+Inf"], distribution.counts, strict=True):
        cumulative += count
        buckets.append((bound, float(cumulative)))
    return buckets
