"""The top of the file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from hotseat.config.parsers import network
from hotseat.config.schema.gpu import GpuConfig
from hotseat.config.schema.inherited import InheritedSettings
from hotseat.config.schema.keys import BasicAuthConfig, KeyConfig
from hotseat.config.schema.launch import TopLaunchKeys
from hotseat.config.schema.model import ModelConfig
from hotseat.config.schema.route import RouteConfig
from hotseat.config.schema.service_levels import ServiceLevels
from hotseat.config.schema.sleep import SleepOrLevel
from hotseat.config.schema.standby import StandbyOrMode
from hotseat.config.schema.tls import TlsConfig
from hotseat.config.schema.types import (
    Bool,
    CommentInterval,
    Count,
    Duration,
    PositiveDuration,
    Secret,
    Size,
)
from hotseat.config_fields import one_or_list
from hotseat.core.spec import ListenSpec

Addresses = Annotated[
    tuple[ListenSpec, ...],
    PlainValidator(network.listen),
    one_or_list(
        "address or list of addresses",
        {"type": ["string", "integer"], "examples": ["127.0.0.1:8000", ":8000", "unix:/run/hotseat.sock"]},
    ),
]
Networks = Annotated[
    tuple[str, ...],
    PlainValidator(network.networks),
    one_or_list(
        "address, network or a list of these",
        {"type": "string", "examples": ["127.0.0.1", "172.16.0.0/12"]},
    ),
]
Tracing = Annotated[
    bool | str,
    PlainValidator(network.tracing),
    WithJsonSchema(
        {"title": "true, false or URL", "anyOf": [{"type": "boolean"}, {"type": "string", "format": "uri"}]}
    ),
]


class RootConfig(InheritedSettings, TopLaunchKeys):
    """The configuration of hotseat. Top-level keys that begin with `x-` are ignored (anchors, notes)."""

    listen: Addresses = Field(
        default=(ListenSpec("127.0.0.1", 8000),),
        description="The address to listen on, or a list of them: `127.0.0.1:8000`, `8000` (the same), "
        "`:8000` (all interfaces, IPv4 and IPv6), `localhost:8000` (both of this machine's), `[::1]:8000`, "
        "`unix:/run/hotseat.sock`, `unix:/run/hotseat.sock,mode=666` (by default 660).",
        json_schema_extra={"default": "127.0.0.1:8000"},
    )
    state_dir: str | None = Field(
        default=None,
        description="The folder for data that outlives a restart. By default `$XDG_STATE_HOME/hotseat`, else "
        "`/var/lib/hotseat` for root and `~/.local/state/hotseat` for other users.",
    )
    default_model: str | None = Field(
        default=None,
        description="The model or route for requests whose `model` is missing or unknown. By default they "
        "get 404.",
    )
    strict_models: Bool = Field(
        default=False,
        description="Answer 404 to an unknown `model` instead of sending the request to `default_model`.",
    )
    gpu: GpuConfig = Field(
        default=GpuConfig(),
        description="The GPUs, and how much of their memory all models together may use.",
        json_schema_extra={"default": {"budget": 0.9}},
    )
    sleep: SleepOrLevel | None = Field(
        default=None, description="Let models sleep instead of stopping them; holds for all models."
    )
    standby: StandbyOrMode | None = Field(
        default=None,
        description="Start models as far as the GPU before their turn, so that a swap takes seconds: `off`, "
        "`demand`, `keep`, or a mapping; holds for all models.",
    )
    slo: ServiceLevels | None = Field(
        default=None,
        description="Service levels that `hotseat bench report --slo FILE` compares results with.",
    )
    return_to_default: Bool = Field(
        default=False, description="Start `default_model` again whenever no other model is in use."
    )
    timezone: str | None = Field(
        default=None,
        description="The time zone for `keep_warm`, such as `Europe/Berlin`. By default the machine's.",
    )
    watch_config: Bool = Field(
        default=False,
        description="Reload the configuration when this file, or the one named by `HOTSEAT_ENV_FILE`, "
        "changes, as `hotseat reload` does.",
    )
    hold_headers_s: Duration = Field(
        default=2.0,
        description="A streaming request that waits longer than this gets its response headers, and then "
        "comments that keep the connection alive.",
    )
    keepalive_comments: CommentInterval = Field(
        default=2.0,
        description="How often a silent stream gets a comment, while its model loads and while it thinks, so "
        "that clients and proxies do not give up. `false`: never; streams are then held like other requests. "
        "May be set for a model or a route, too.",
        json_schema_extra={"default": "2s"},
    )
    body_limit: Size = Field(
        default=32 * 1024 * 1024,
        description="The largest request body; larger ones get 413.",
        json_schema_extra={"default": "32MiB"},
    )
    body_memory: Size = Field(
        default=64 * 1024 * 1024,
        description="What all request bodies that wait may take together (at least `body_limit`); one "
        "client's may take half of it (but always `body_limit`). Beyond, there is 503 with `Retry-After`.",
        json_schema_extra={"default": "64MiB"},
    )
    slow_client_timeout: PositiveDuration = Field(
        default=60.0,
        description="A client that takes nothing of its response (less than 1 KiB/s) for this long is cut "
        "off, and after at most 10 s while other requests wait for a model.",
    )
    max_connections: Count | None = Field(
        default=None,
        description="The most connections of clients at once; half of them may come from one address (one "
        "/64 with IPv6), unless it is a trusted proxy. By default half of the process' descriptor limit.",
    )
    on_exit: Literal["stop", "leave"] = Field(
        default="stop",
        description="What happens to models when hotseat exits: `stop` them, or `leave` them running for the "
        "next hotseat to take over.",
    )
    auth: Bool | None = Field(
        default=None,
        description="`off`: clients need no key even if keys are configured, and hotseat may listen on all "
        "interfaces. Admin pages still need an admin key if there is one.",
    )
    keys: dict[str, KeyConfig] = Field(
        default={},
        description="Clients' keys, by name. `VLLM_API_KEY` from the environment is one too, for all models.",
    )
    api_secret: Secret | None = Field(
        default=None,
        description="A second secret, as `${VARIABLE}`, that clients send in `X-API-Secret` in addition to "
        "their key.",
    )
    basic: BasicAuthConfig | None = Field(
        default=None, description="HTTP Basic authentication, required for every request."
    )
    trusted_proxies: Networks = Field(
        default=(),
        description="Addresses and networks of proxies that are trusted to report the client's address in "
        "`X-Forwarded-For`.",
    )
    cloudflare_proxies: Networks = Field(
        default=(),
        description="Addresses and networks of `cloudflared`, or of proxies that Cloudflare calls: they set "
        "`CF-Connecting-IP`, which is read from nobody else. They are trusted proxies, too.",
    )
    rate_store: Secret | None = Field(
        default=None,
        description="`redis://HOST:6379/0`: share the counts of `rate_limit` between several launchers "
        "(needs the extra `redis`). By default each launcher counts on its own, in memory.",
    )
    lease: str | None = Field(
        default=None,
        description="The name of a Kubernetes Lease that several launchers share: one leads, the others "
        "stand by and take over when it ends (needs the extra `kubernetes`, and `on_exit: leave`). By "
        "default there is one launcher.",
    )
    access_log: Bool = Field(
        default=True,
        description="Write one line of JSON to standard output for each request that has ended.",
    )
    tracing: Tracing | None = Field(
        default=None,
        description="OpenTelemetry traces (needs the extra `otel`): `true`, `false`, or a collector's URL "
        "(OTLP over HTTP). By default on if `OTEL_EXPORTER_OTLP_ENDPOINT` or "
        "`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set. Other `OTEL_*` variables are respected.",
    )
    tls: TlsConfig | None = Field(
        default=None, description="HTTPS served by hotseat itself, for a local network."
    )
    models: dict[str, ModelConfig] = Field(default={}, description="The models, by name. At least one.")
    routes: dict[str, RouteConfig] = Field(
        default={},
        description="Public routes, by name. A model without a route gets one with its own name.",
    )
