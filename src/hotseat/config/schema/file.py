"""What may be written in the file: every key with its type, its default and what it is for.

The published JSON schema and the reference page are made from these classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from hotseat.config.parsers import values
from hotseat.config.schema.access import BasicAuthConfig, KeyConfig, Networks, PolicyConfig, Secret, TlsConfig
from hotseat.config.schema.service_levels import ServiceLevels
from hotseat.config.schema.types import (
    AutoDuration,
    Bool,
    Count,
    Duration,
    PositiveDuration,
    Seed,
    Size,
)
from hotseat.config_fields import TEXT_OR_NUMBER, ConfigModel, Int, Names, names, schema
from hotseat.core.spec import KeepWarmSpan
from hotseat.runtimes import registry

RuntimeName = Annotated[
    str, PlainValidator(registry.known), WithJsonSchema({"enum": list(registry.KINDS), "type": "string"})
]
_SELECTED = ", ".join(
    f"`{kind.name}` where `{kind.selecting_key}` is set"
    for kind in registry.KINDS.values()
    if kind.name != registry.DEFAULT
)
WarmSpans = Annotated[
    tuple[KeepWarmSpan, ...],
    PlainValidator(values.warm_spans),
    WithJsonSchema(
        {
            "title": "span or list of spans",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            "examples": ["Mon-Fri 08:00-18:00"],
        }
    ),
]
Address = Annotated[
    tuple[str, int],
    PlainValidator(values.address),
    schema(["string", "integer"], "address", examples=["127.0.0.1:8000", ":8000"]),
]
Tracing = Annotated[
    bool | str,
    PlainValidator(values.tracing),
    WithJsonSchema(
        {"title": "true, false or URL", "anyOf": [{"type": "boolean"}, {"type": "string", "format": "uri"}]}
    ),
]
_SHARE = {"type": TEXT_OR_NUMBER, "title": "share of one GPU", "examples": [0.9]}


def _share_of_each(value: object) -> dict[str, int] | int:
    if isinstance(value, dict):
        return {device: values.share(share) for device, share in value.items()}
    return values.share(value)


def _budgets(value: object) -> dict[str, int] | tuple[str, ...]:
    if isinstance(value, dict) and value:
        return {device: values.positive_share(share) for device, share in value.items()}
    if isinstance(value, list) and value:
        return _devices(value)
    raise ValueError("expected a list of devices such as [0, 1], or the budget of each: {0: 0.90, 1: 0.50}")


def _devices(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(isinstance(one, str | int) and not isinstance(one, bool) for one in listed):
        raise ValueError("expected a device such as 0, or a list of devices")
    return names([str(one) for one in listed])


Share = Annotated[int, PlainValidator(values.positive_share), WithJsonSchema(_SHARE)]
Footprint = Annotated[
    int | dict[str, int],
    PlainValidator(_share_of_each),
    WithJsonSchema(
        {
            "title": "share of one GPU, or a share for each device",
            "anyOf": [_SHARE, {"type": "object", "additionalProperties": _SHARE}],
        }
    ),
]
_DEVICE = {"type": ["string", "integer"], "title": "device"}
Devices = Annotated[
    tuple[str, ...],
    PlainValidator(_devices),
    WithJsonSchema(
        {"title": "device or list of devices", "anyOf": [_DEVICE, {"type": "array", "items": _DEVICE}]}
    ),
]
Budgets = Annotated[
    dict[str, int] | tuple[str, ...],
    PlainValidator(_budgets),
    WithJsonSchema(
        {
            "title": "list of devices, or a budget for each",
            "anyOf": [
                {"type": "array", "items": _DEVICE},
                {"type": "object", "additionalProperties": _SHARE},
            ],
        }
    ),
]


class GpuConfig(ConfigModel):
    """The GPU memory that all models may take together."""

    budget: Share = Field(
        default=900_000,
        description="Share of the whole GPU that all models may take together; each model's `footprint` "
        "counts against it.",
        json_schema_extra={"default": 0.9},
    )
    devices: Budgets | None = Field(
        default=None,
        description="Several GPUs: a list of devices (`[0, 1]`, each with `budget`), or the budget of each "
        "(`{0: 0.90, 1: 0.50}`). Without it there is one device, `0`.",
    )


class SleepConfig(ConfigModel):
    """Sleep instead of stop (vLLM's sleep mode): the model leaves the GPU and comes back in seconds."""

    level: Int | None = Field(
        default=None,
        description="`1` keeps the weights in host memory (fastest to wake), `2` drops them. At the top of "
        "the file: for all models that do not say otherwise.",
        json_schema_extra={"enum": [1, 2]},
    )
    idle: Duration | None = Field(
        default=None, description="Asleep for so long, it is stopped; `0` or left out: never."
    )
    host_memory: Size | None = Field(
        default=None,
        description="On a model: the host memory that it takes while asleep at level 1. At the top of the "
        "file: what all sleepers may take together; beyond it the oldest one is stopped.",
    )
    leftover: Footprint | None = Field(
        default=None,
        description="Share of the GPU that stays taken while asleep, until it has been measured.",
    )


def _sleep_sugar(value: Any) -> Any:
    if value is False:
        return {"level": 0}
    if value is True:
        return {"level": 1}
    return {"level": value} if isinstance(value, int) else value


SleepOrLevel = Annotated[
    SleepConfig, BeforeValidator(_sleep_sugar, json_schema_input_type=Literal[1, 2] | bool | SleepConfig)
]


IDLE = "From the last byte of the last response to the stop; `0`: never."
START_TIMEOUT = "A start that takes longer has failed."
DRAIN_TIMEOUT = "How long running requests may finish before a model that must go is stopped."
STOP_GRACE = "From the polite stop (SIGTERM) to the forced one (SIGKILL)."
SEED = (
    "`auto`: a model of a vLLM command that is not in its Hugging Face cache is downloaded before its first "
    "start (needs the extra `seed`); requests wait and are told how far it is. `off`: `hotseat seed` does it."
)
SEED_TIMEOUT = (
    "A download that takes longer has failed; what is there is kept, and the next try goes on there."
)
RESIDENCY = (
    "The shortest time that a model keeps the GPU once it has it; `auto` learns it from the cost of a swap."
)
MAX_WAIT = (
    "What a request waits at most before it may cut another model's `residency` short; `auto` learns it "
    "from the cost of a swap."
)
WAIT_LIMIT = "What a request waits at most before it is refused; by default it is bounded by the other times."
HEALTH_EVERY = (
    "How often a ready model is asked whether it still answers (`health`, within twice this time); three "
    "failures in a row and it is restarted. `0`: only when requests give a reason to doubt it (for a "
    "server that does nothing else while it generates)."
)
FIRST_BYTE_TIMEOUT = (
    "How long a request waits for the first byte of its response before it gets 504 and the model is "
    "checked; the default is what OpenAI's clients wait. An answer that is not streamed comes as a whole, so "
    "raise this for ones that take longer to generate. `0`: for ever."
)
MAX_QUEUE = "Requests that may wait for one model; more are refused with 429. By default there is no limit."


if TYPE_CHECKING:

    class ModelLaunchKeys(ConfigModel):
        """The keys of all runtimes in ``models.NAME``; only the runtime that they belong to knows them."""

    class TopLaunchKeys(ConfigModel):
        """The keys of all runtimes at the top of the file."""

else:
    ModelLaunchKeys, TopLaunchKeys = registry.model_keys(), registry.top_keys()


class ModelConfig(ModelLaunchKeys, PolicyConfig):
    """One model: a server that hotseat starts and stops."""

    runtime: RuntimeName | None = Field(
        default=None,
        description=f"How it is run; by default {_SELECTED}, else `{registry.DEFAULT}`.",
    )
    engine: Literal["vllm", "openai"] | None = Field(
        default=None, description="The kind of server; by default told from the command."
    )
    path: str | None = Field(
        default=None, description="Path prefix of its route; by default `/` and its name."
    )
    aliases: Names = Field(default=(), description="Further values of a request's `model` that lead here.")
    lora: Names = Field(
        default=(),
        description="LoRA adapters that the server knows: clients name them as `model`. By default "
        "`--lora-modules` in the command.",
    )
    served_name: Names | None = Field(
        default=None,
        description="Names that the server itself knows, the first one preferred; by default read from the "
        "command.",
    )
    upstream_key: str | None = Field(
        default=None,
        description="The key that the server wants, as `${VARIABLE}`; by default `UPSTREAM_API_KEY` from the "
        "environment, else `VLLM_API_KEY`. An empty text sends none.",
    )
    health: str = Field(default="/health", description="The path that answers 200 when the server is ready.")
    health_every: Duration | None = Field(default=None, description=HEALTH_EVERY)
    first_byte_timeout: Duration | None = Field(default=None, description=FIRST_BYTE_TIMEOUT)
    allow_paths: Names = Field(
        default=(), description="Paths that clients may use in addition to the usual ones, such as `/ping`."
    )
    footprint: Footprint | None = Field(
        default=None,
        description="Share of the GPU that it takes while it runs (or a share for each device). By default "
        "`--gpu-memory-utilization` in the command, else the whole budget.",
    )
    devices: Devices | None = Field(
        default=None, description="The devices that it runs on, of `gpu.devices`; by default all of them."
    )
    idle: Duration | None = Field(default=None, description=IDLE)
    start_timeout: PositiveDuration | None = Field(default=None, description=START_TIMEOUT)
    seed: Seed | None = Field(default=None, description=SEED)
    seed_timeout: PositiveDuration | None = Field(default=None, description=SEED_TIMEOUT)
    drain_timeout: Duration | None = Field(default=None, description=DRAIN_TIMEOUT)
    stop_grace: Duration | None = Field(default=None, description=STOP_GRACE)
    residency: AutoDuration | None = Field(default=None, description=RESIDENCY)
    max_wait: AutoDuration | None = Field(default=None, description=MAX_WAIT)
    wait_limit: PositiveDuration | None = Field(default=None, description=WAIT_LIMIT)
    max_in_flight: Count | None = Field(
        default=None,
        description="Requests that the server gets at once; the rest waits in hotseat's queue. By default "
        "`--max-num-seqs` in the command, else there is no limit.",
    )
    max_queue: Count | None = Field(default=None, description=MAX_QUEUE)
    priority: Int = Field(default=0, description="Its requests go before those of a lower priority.")
    pinned: Bool = Field(default=False, description="Never stopped for another model, nor for being idle.")
    preload: Bool = Field(
        default=False, description="Started without being asked for when there is room, and kept running."
    )
    keep_warm: WarmSpans | None = Field(
        default=None,
        description="When it is kept running as with `preload`: `Mon-Fri 08:00-18:00`, or a list of such "
        "spans, in the time zone of `timezone`.",
    )
    sleep: SleepOrLevel | None = Field(
        default=None, description="Sleep instead of stop: `1`, `2`, `false`, or a mapping."
    )
    slo: ServiceLevels | None = Field(
        default=None, description="This model's own service levels; what it leaves out is taken from the top."
    )


class RouteConfig(PolicyConfig):
    """A public name and path prefix that leads to a model."""

    model: str | None = Field(
        default=None, description="The model that it leads to; by default of the same name."
    )
    path: str | None = Field(default=None, description="Path prefix; by default `/` and the route's name.")
    aliases: Names = Field(default=(), description="Further values of a request's `model` that lead here.")
    priority: Int = Field(
        default=0, description="Added to the model's: requests of a higher priority go first."
    )


class TopConfig(ConfigModel):
    """The keys at the top of the file that belong to no runtime."""

    listen: Address = Field(
        default=("127.0.0.1", 8000),
        description="Where it listens: `127.0.0.1:8000`, `:8000` (all interfaces), `[::1]:8000`, `8000`.",
        json_schema_extra={"default": "127.0.0.1:8000"},
    )
    state_dir: str | None = Field(
        default=None,
        description="Where hotseat keeps what must survive it. By default `$XDG_STATE_HOME/hotseat`, else "
        "`/var/lib/hotseat` for root and `~/.local/state/hotseat` for others.",
    )
    default_model: str | None = Field(
        default=None,
        description="The model or route for requests that name none that is known. By default these get 404.",
    )
    strict_models: Bool = Field(
        default=False, description="Answer 404 to an unknown `model`, in place of the default model's answer."
    )
    gpu: GpuConfig = Field(
        default=GpuConfig(),
        description="The devices and their budget: what all models may take of them together.",
        json_schema_extra={"default": {"budget": 0.9}},
    )
    idle: Duration = Field(default=1800.0, description=IDLE, json_schema_extra={"default": "30m"})
    start_timeout: PositiveDuration = Field(
        default=300.0, description=START_TIMEOUT, json_schema_extra={"default": "5m"}
    )
    seed: Seed = Field(default=False, description=SEED, json_schema_extra={"default": "off"})
    seed_timeout: PositiveDuration = Field(
        default=21600.0, description=SEED_TIMEOUT, json_schema_extra={"default": "6h"}
    )
    drain_timeout: Duration = Field(
        default=60.0, description=DRAIN_TIMEOUT, json_schema_extra={"default": "60s"}
    )
    stop_grace: Duration = Field(default=10.0, description=STOP_GRACE, json_schema_extra={"default": "10s"})
    health_every: Duration = Field(default=5.0, description=HEALTH_EVERY, json_schema_extra={"default": "5s"})
    first_byte_timeout: Duration = Field(
        default=600.0, description=FIRST_BYTE_TIMEOUT, json_schema_extra={"default": "10m"}
    )
    residency: AutoDuration = Field(default="auto", description=RESIDENCY)
    max_wait: AutoDuration = Field(default="auto", description=MAX_WAIT)
    wait_limit: PositiveDuration | None = Field(default=None, description=WAIT_LIMIT)
    max_queue: Count | None = Field(default=None, description=MAX_QUEUE)
    sleep: SleepOrLevel | None = Field(default=None, description="Sleep instead of stop, for all models.")
    slo: ServiceLevels | None = Field(
        default=None,
        description="Service levels that `hotseat bench report --slo FILE` holds results against.",
    )
    return_to_default: Bool = Field(
        default=False, description="Start `default_model` again when nobody asks for anything."
    )
    timezone: str | None = Field(
        default=None,
        description="The time zone of `keep_warm`, such as `Europe/Berlin`; by default the machine's.",
    )
    watch_config: Bool = Field(
        default=False,
        description="Read the configuration again when this file (or the one that `HOTSEAT_ENV_FILE` names) "
        "changes, as `hotseat reload` does.",
    )
    hold_headers_s: Duration = Field(
        default=2.0,
        description="How long a streaming request waits in silence before it gets headers and signs of life.",
    )
    body_limit: Size = Field(
        default=32 * 1024 * 1024,
        description="The largest request body; larger ones get 413.",
        json_schema_extra={"default": "32MiB"},
    )
    on_exit: Literal["stop", "leave"] = Field(
        default="stop",
        description="When hotseat ends: `stop` the models, or `leave` them running for the next start.",
    )
    auth: Bool | None = Field(
        default=None,
        description="`off`: nobody needs a key, whatever keys there are, and hotseat may listen to all. "
        "(Admin pages still want one where there is one.)",
    )
    keys: dict[str, KeyConfig] = Field(
        default={},
        description="Clients' keys, by name. `VLLM_API_KEY` from the environment is one too, for all models.",
    )
    api_secret: Secret | None = Field(
        default=None,
        description="A second factor, as `${VARIABLE}`: wanted in `X-API-Secret` besides the key.",
    )
    basic: BasicAuthConfig | None = Field(
        default=None, description="HTTP Basic, wanted before anything is passed on."
    )
    trusted_proxies: Networks = Field(
        default=(),
        description="Proxies whose word on the client's address is taken (`X-Forwarded-For`, else "
        "`CF-Connecting-IP`): addresses and networks.",
    )
    rate_store: Secret | None = Field(
        default=None,
        description="`redis://HOST:6379/0`: several launchers count their `rate_limit` together (needs the "
        "extra `redis`). By default each counts in its memory.",
    )
    access_log: Bool = Field(
        default=True, description="One line of JSON on standard output for each request, when it has ended."
    )
    tracing: Tracing | None = Field(
        default=None,
        description="OpenTelemetry traces (needs the extra `otel`): `true`, `false`, or a collector's URL "
        "(OTLP over HTTP). By default they are sent where `OTEL_EXPORTER_OTLP_ENDPOINT` or "
        "`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set; the other `OTEL_*` variables count too.",
    )
    tls: TlsConfig | None = Field(default=None, description="HTTPS by hotseat itself, for a local network.")
    models: dict[str, ModelConfig] = Field(default={}, description="The models, by name. At least one.")
    routes: dict[str, RouteConfig] = Field(
        default={},
        description="Public routes, by name. A model that no route names has one of its own name.",
    )


class RootConfig(TopLaunchKeys, TopConfig):
    """The configuration of hotseat. Keys that begin with `x-` at the top are yours (anchors, notes)."""
