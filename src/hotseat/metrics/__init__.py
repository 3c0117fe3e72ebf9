"""What is counted, and how it is shown to Prometheus."""

from hotseat.metrics.catalogue import CATALOGUE
from hotseat.metrics.counting import Metrics
from hotseat.metrics.relabel import join
from hotseat.metrics.showing import CONTENT_TYPE, DeviceMemory, MetricsSnapshot, expose

__all__ = ["CATALOGUE", "CONTENT_TYPE", "DeviceMemory", "Metrics", "MetricsSnapshot", "expose", "join"]
