"""``slo:``, the service levels that ``hotseat bench report`` holds results against."""

from __future__ import annotations

from pydantic import Field

from hotseat.config.schema.types import Number, PositiveDuration
from hotseat.config_fields import ConfigModel


class ServiceLevels(ConfigModel):
    """What results of benchmarks are held against."""

    start_p50: PositiveDuration | None = Field(default=None, description="The median start, at most.")
    start_p95: PositiveDuration | None = Field(
        default=None, description="95 of 100 starts take no longer than this."
    )
    start_p99: PositiveDuration | None = Field(default=None, description="99 of 100.")
    ttft_p50: PositiveDuration | None = Field(
        default=None, description="The median time from a request to its first token, at most."
    )
    ttft_p95: PositiveDuration | None = Field(default=None, description="95 of 100 are no longer than this.")
    ttft_p99: PositiveDuration | None = Field(default=None, description="99 of 100.")
    itl_p50: PositiveDuration | None = Field(
        default=None, description="The median time between two tokens of a stream, at most."
    )
    itl_p95: PositiveDuration | None = Field(default=None, description="95 of 100 are no longer than this.")
    itl_p99: PositiveDuration | None = Field(default=None, description="99 of 100.")
    tokens_per_s: Number | None = Field(
        default=None, description="Tokens per second of all streams together, at least."
    )
    stream_tokens_per_s: Number | None = Field(
        default=None, description="Tokens per second of one stream (median), at least."
    )
