"""Settings that are written at the top of the file for all models, and on a model for that model alone."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from hotseat.config.parsers.booleans import seed
from hotseat.config.schema.types import AutoDuration, Count, Duration, PositiveDuration
from hotseat.config_fields import ConfigModel

Seed = Annotated[
    bool,
    PlainValidator(seed),
    WithJsonSchema({"title": "auto or off", "enum": ["auto", "off", False]}),
]


class InheritedSettings(ConfigModel):
    """Settings that a model takes from the top of the file unless it has its own."""

    idle: Duration = Field(
        default=1800.0,
        description="A model that has finished its last response this long ago is stopped. `0`: never.",
        json_schema_extra={"default": "30m"},
    )
    start_timeout: PositiveDuration = Field(
        default=300.0,
        description="A start that takes longer than this has failed.",
        json_schema_extra={"default": "5m"},
    )
    seed: Seed = Field(
        default=False,
        description="`auto`: a vLLM model whose weights are missing from its Hugging Face cache is "
        "downloaded before its first start (needs the extra `seed`). Requests wait and are told the "
        "progress. `off`: download weights with `hotseat seed`.",
        json_schema_extra={"default": "off"},
    )
    seed_timeout: PositiveDuration = Field(
        default=21600.0,
        description="A download that takes longer than this has failed. The next attempt resumes it.",
        json_schema_extra={"default": "6h"},
    )
    drain_timeout: Duration = Field(
        default=60.0,
        description="How long running requests may take to finish before their model is stopped.",
        json_schema_extra={"default": "60s"},
    )
    stop_grace: Duration = Field(
        default=10.0,
        description="Time between SIGTERM and SIGKILL when a model is stopped.",
        json_schema_extra={"default": "10s"},
    )
    health_every: Duration = Field(
        default=5.0,
        description="How often the health of a ready model is checked (at its `health` path, with a timeout "
        "of twice this time). After three failures in a row the model is restarted. `0`: only when failing "
        "requests give a reason (for servers that answer nothing else while they generate).",
        json_schema_extra={"default": "5s"},
    )
    first_byte_timeout: Duration = Field(
        default=600.0,
        description="How long a request waits for the first byte of its response; then it gets 504 and the "
        "model's health is checked. The default is the timeout of OpenAI's client libraries. A response that "
        "is not streamed arrives all at once, so raise this if generating one takes longer. `0`: no limit.",
        json_schema_extra={"default": "10m"},
    )
    residency: AutoDuration = Field(
        default="auto",
        description="How long a model keeps the GPU at least once it has it. `auto`: derived from the "
        "measured cost of a swap.",
    )
    max_wait: AutoDuration = Field(
        default="auto",
        description="After waiting this long, a request cuts another model's `residency` short. `auto`: "
        "derived from the measured cost of a swap.",
    )
    wait_limit: PositiveDuration | None = Field(
        default=None,
        description="A request that has waited this long for its model is refused. By default there is "
        "no such limit; the other timeouts apply.",
    )
    max_queue: Count | None = Field(
        default=None,
        description="How many requests may wait for one model; more are refused with 429. By default "
        "unlimited.",
    )

    def overridden_by(self, own: InheritedSettings) -> InheritedSettings:
        """These settings with those that ``own`` has written in their place.

        ``model_fields_set`` of the result holds what was written in either.
        """
        names = InheritedSettings.model_fields.keys()
        written = own.model_fields_set & names
        values: dict[str, Any] = {name: getattr(own if name in written else self, name) for name in names}
        return InheritedSettings.model_construct(
            _fields_set=written | (self.model_fields_set & names), **values
        )
