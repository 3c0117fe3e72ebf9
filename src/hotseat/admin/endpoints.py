"""hotseat's own endpoints, described once for routing, ``/openapi.json`` and the reference page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from hotseat.admin import schema
from hotseat.admin.schema import CAPTURE_SECONDS, REQUEST_BYTES
from hotseat.telemetry.event_stream import KEPT, MOST_READERS

Access = Literal["all", "key", "admin"]
"""Key that a call needs, once keys are configured: none, any, or an admin's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path."""

    method: Literal["GET", "POST"]
    path: str
    access: Access
    summary: str
    description: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Request headers that it reads, with their meaning."""
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    response: type[msgspec.Struct] | None = None
    """``None``: not described."""
    media_type: str = "application/json"
    """Of a good response."""
    also_media_type: str = ""
    """Another one that a good response may have."""
    errors: Mapping[int, str] = field(default_factory=dict)
    """Statuses besides 401 and 403, and what they mean."""
    error_bodies: Mapping[int, type[msgspec.Struct]] = field(default_factory=dict)
    """Of ``errors``, those with a body other than ``schema.Error``."""


_REQUEST_ERRORS = {413: f"body larger than {REQUEST_BYTES // 1024} KiB", 415: "not sent as JSON"}
_NO_MODEL = {404: "no such route or model"}
_ORDER_ERRORS = {400: "invalid body", **_NO_MODEL, **_REQUEST_ERRORS}

ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/hello",
        access="all",
        summary="As `/health`; Claude Code asks here whether its API is up.",
        response=schema.LivenessResponse,
    ),
    Endpoint(
        method="GET",
        path="/health",
        access="all",
        summary="Liveness: hotseat itself is up.",
        description="Always 200 with `status: ok` while hotseat answers at all, whatever state the models "
        "are in.",
        response=schema.LivenessResponse,
    ),
    Endpoint(
        method="GET",
        path="/readyz",
        access="all",
        summary="Whether this launcher takes requests: 503 while another one leads.",
        description="For a load balancer in front of several launchers (`lease`). Whatever state the models "
        "and their runtimes are in, a launcher that leads answers 200.",
        response=schema.LivenessResponse,
        errors={503: "another launcher leads"},
    ),
    Endpoint(
        method="GET",
        path="/healthz",
        access="all",
        summary="Readiness: hotseat can run models. With a key also the routes and their states.",
        description="503 while a runtime that a model needs (such as Docker) cannot be used. Without a key "
        "the response holds `status` alone; with a client's key also `routes` and `budget`; with an admin's "
        "key also the last log lines of failed models.",
        response=schema.HealthResponse,
        errors={503: "a runtime cannot be used"},
        error_bodies={503: schema.HealthResponse},
    ),
    Endpoint(
        method="GET",
        path="/routes",
        access="admin",
        summary="The routes, each with its path, model, runtime and state.",
        response=schema.RoutesResponse,
    ),
    Endpoint(
        method="GET",
        path="/stats",
        access="admin",
        summary="The state of every model, the GPU budget, the GPUs, and the latest failures and swaps.",
        description="For each model: state, phase, `eta_s`, `last_move`, requests in flight and waiting, "
        "tokens, `minutes` (the last hour by minute), start durations, time of the last request, and the "
        "last failure.",
        response=schema.StatsResponse,
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        access="admin",
        summary="Metrics in the Prometheus text format.",
        description="See [Metrics](metrics.md).",
        media_type="text/plain",
    ),
    Endpoint(
        method="GET",
        path="/metrics/models",
        access="admin",
        summary="The metrics of all ready models' servers, each series labelled with its `model`.",
        media_type="text/plain",
    ),
    Endpoint(
        method="GET",
        path="/events",
        access="admin",
        summary="A live stream of events (server-sent events).",
        description="Events are `move`, `phase`, `swap` and `failure`, each with a JSON object. The latest "
        f"{KEPT} are kept: a client that sends `Last-Event-ID` (or `after`) first gets those that it missed. "
        "A client that reads too slowly loses the oldest events and gets `dropped` with their `count`. At "
        f"most {MOST_READERS} clients at once.",
        headers={"Last-Event-ID": "Id of the last event that the client has seen."},
        query=schema.EventsQuery,
        media_type="text/event-stream",
        errors={503: "too many clients"},
    ),
    Endpoint(
        method="GET",
        path="/logs/{model}",
        access="admin",
        summary="The latest log lines of a model's server; with `follow`, new lines as they are written.",
        description="Without `follow`, a JSON object with `lines`. With `follow`, plain text that continues "
        "through all later runs. A client that reads too slowly continues where it stopped while the log "
        "still holds that place; otherwise a line says that lines are missing.",
        query=schema.LogsQuery,
        response=schema.LogsResponse,
        also_media_type="text/plain",
        errors={400: "invalid lines or follow", **_NO_MODEL},
    ),
    Endpoint(
        method="GET",
        path="/admin/launch/{model}",
        access="admin",
        summary="How a model's server is launched, and on which machine.",
        description="What a benchmark has to record: runtime, image, command (without the values of flags "
        "for keys, tokens and passwords), processor, memory, GPUs, and hotseat's version.",
        response=schema.LaunchResponse,
        errors=_NO_MODEL,
    ),
    Endpoint(
        method="GET",
        path="/openapi.json",
        access="key",
        summary="This page for programs (OpenAPI 3.1).",
    ),
    Endpoint(
        method="POST",
        path="/admin/start",
        access="admin",
        summary="Start a model now, even one in backoff.",
        description="Responds with the model as in `/stats`. With `wait`, responds when the model is ready, "
        "or with the reason why it did not start.",
        body=schema.StartRequest,
        response=schema.ModelResponse,
        errors={**_ORDER_ERRORS, 503: "with wait: the model did not start"},
    ),
    Endpoint(
        method="POST",
        path="/admin/stop",
        access="admin",
        summary="Stop a model once its running requests have finished.",
        description="Responds with the model as in `/stats`.",
        body=schema.StopRequest,
        response=schema.ModelResponse,
        errors=_ORDER_ERRORS,
    ),
    Endpoint(
        method="POST",
        path="/admin/reload",
        access="admin",
        summary="Read the configuration again and apply it.",
        description="Responds with what has changed. An invalid configuration changes nothing, and "
        "`problems` lists its mistakes.",
        body=schema.ReloadRequest,
        response=schema.ReloadResponse,
        errors={400: "invalid configuration, or invalid body", **_REQUEST_ERRORS},
        error_bodies={400: schema.ReloadError},
    ),
    Endpoint(
        method="POST",
        path="/admin/capture",
        access="admin",
        summary="Write a model's prompts and answers to a file for a limited time.",
        description="For debugging; off unless ordered. The file is `captures/MODEL.jsonl` in `state_dir`, "
        "readable by the launcher's user alone; a new capture replaces it. A capture lasts "
        f"{CAPTURE_SECONDS.most} seconds at most and holds at most 64 MiB, and 1 MiB of each text; a restart "
        "of hotseat ends it. Headers are not written, and credentials in the texts become `***`. While a "
        "capture is on, the log and `/routes` (`capture`) say so.",
        body=schema.CaptureRequest,
        response=schema.CaptureResponse,
        errors={**_ORDER_ERRORS, 500: "the file cannot be created"},
    ),
)
