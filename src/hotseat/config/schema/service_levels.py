"""``slo:``, the service levels that ``hotseat bench report`` compares results with."""

from __future__ import annotations

from pydantic import Field

from hotseat.config.schema.types import Number, PositiveDuration
from hotseat.config_fields import ConfigModel

_START = "Time until a model is ready"
_TTFT = "Time from a request to its first token"
_ITL = "Time between two tokens of a stream"


class ServiceLevels(ConfigModel):
    """Service levels that benchmark results are compared with."""

    start_p50: PositiveDuration | None = Field(default=None, description=f"{_START}: median, at most.")
    start_p95: PositiveDuration | None = Field(
        default=None, description=f"{_START}: 95th percentile, at most."
    )
    start_p99: PositiveDuration | None = Field(
        default=None, description=f"{_START}: 99th percentile, at most."
    )
    ttft_p50: PositiveDuration | None = Field(default=None, description=f"{_TTFT}: median, at most.")
    ttft_p95: PositiveDuration | None = Field(default=None, description=f"{_TTFT}: 95th percentile, at most.")
    ttft_p99: PositiveDuration | None = Field(default=None, description=f"{_TTFT}: 99th percentile, at most.")
    itl_p50: PositiveDuration | None = Field(default=None, description=f"{_ITL}: median, at most.")
    itl_p95: PositiveDuration | None = Field(default=None, description=f"{_ITL}: 95th percentile, at most.")
    itl_p99: PositiveDuration | None = Field(default=None, description=f"{_ITL}: 99th percentile, at most.")
    tokens_per_s: Number | None = Field(
        default=None, description="Tokens per second of all streams together, at least."
    )
    stream_tokens_per_s: Number | None = Field(
        default=None, description="Tokens per second of one stream: median, at least."
    )
