"""Prometheus metrics: the counters and their exposition."""

from hotseat.telemetry.metrics.catalogue import CATALOGUE
from hotseat.telemetry.metrics.counters import Metrics
from hotseat.telemetry.metrics.exposition import CONTENT_TYPE, DeviceMemory, MetricsSnapshot, expose
from hotseat.telemetry.metrics.relabel import join

__all__ = ["CATALOGUE", "CONTENT_TYPE", "DeviceMemory", "Metrics", "MetricsSnapshot", "expose", "join"]
