"""The admin API's wire format: every request and response, for the server, OpenAPI and the command line.

The types hold a field's JSON type, bounds, default and description. A field that may be left out has the
default ``UNSET``; one that is always there and may be ``null`` is ``… | None``. A field that is added later
needs a default, so that a newer command line can read the responses of an older launcher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType


@dataclass(frozen=True, slots=True)
class IntBounds:
    """The range and the default of a whole number that clients may set."""

    least: int
    most: int
    default: int


LOG_LINES = IntBounds(least=1, most=10_000, default=100)
CAPTURE_SECONDS = IntBounds(least=0, most=3600, default=60)
"""0 ends a capture."""

REQUEST_BYTES = 64 * 1024
"""Longest request body, in bytes."""

Shares = dict[str, float]
"""GPU memory by device, each as a share of the whole GPU (0 to 1)."""
Timestamp = Annotated[str, Meta(description="ISO 8601, UTC.")]

# errors


class ErrorDetail(Struct, frozen=True, kw_only=True):
    """An error, in the shape that OpenAI's clients read."""

    message: Annotated[str, Meta(description="For people.")]
    type: str
    param: str | None = None
    code: Annotated[str, Meta(description="For programs, such as `model_backoff`.")]


class Error(Struct, frozen=True, kw_only=True):
    """A request that was refused or failed."""

    error: ErrorDetail


class ReloadError(Error, frozen=True, kw_only=True):
    """A reload that was refused; nothing has changed."""

    problems: Annotated[
        list[str] | UnsetType,
        Meta(description="Every problem of the configuration, with file, line and key."),
    ] = UNSET


# requests

Target = Annotated[str, Meta(description="A route's or a model's name.")]
Wait = Annotated[bool, Meta(description="Answer only when it is done.")]


class StartRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /admin/start``: starts a model."""

    route: Target
    wait: Wait = False


class StopRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /admin/stop``: stops a model or puts it to sleep."""

    route: Target
    wait: Wait = False
    sleep: Annotated[bool, Meta(description="Put the model to sleep instead of stopping it.")] = False


class ReloadRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /admin/reload``: an empty object."""


class CaptureRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /admin/capture``: records prompts and answers for a while."""

    route: Target
    seconds: Annotated[
        int,
        Meta(
            ge=CAPTURE_SECONDS.least,
            le=CAPTURE_SECONDS.most,
            description=f"How long from now, 1 to {CAPTURE_SECONDS.most}; 0 ends the capture. A capture that "
            "is already on is extended.",
        ),
    ] = CAPTURE_SECONDS.default


class LogsQuery(Struct, frozen=True, kw_only=True):
    """The query of ``GET /logs/{model}``."""

    lines: Annotated[
        int,
        Meta(
            ge=LOG_LINES.least,
            le=LOG_LINES.most,
            description=f"How many past lines, {LOG_LINES.least} to {LOG_LINES.most}.",
        ),
    ] = LOG_LINES.default
    follow: Annotated[bool, Meta(description="Keep sending new lines (1).")] = False


class EventsQuery(Struct, frozen=True, kw_only=True):
    """The query of ``GET /events``."""

    after: Annotated[
        str | None, Meta(description="Same as `Last-Event-ID`, for clients that cannot set a header.")
    ] = None


# health and routes


class FailureReason(Struct, frozen=True, kw_only=True):
    """The reason for a model's last failure; the fields with a default are for admins alone."""

    summary: str
    hint: Annotated[str | None, Meta(description="What to do about it.")]
    exit_code: int | UnsetType | None = UNSET
    signal: int | UnsetType | None = UNSET
    oom: Annotated[bool | UnsetType, Meta(description="It ran out of memory.")] = UNSET
    lines: Annotated[list[str] | UnsetType, Meta(description="What its server logged last.")] = UNSET


class CaptureStatus(Struct, frozen=True, kw_only=True):
    """A capture of prompts and answers."""

    file: str
    until: Timestamp
    requests: int
    bytes: int


class RouteStatus(Struct, frozen=True, kw_only=True):
    """A route, and the state of its model."""

    model: str
    path: Annotated[str, Meta(description="Base path of its API, such as `/chat/v1`.")]
    aliases: list[str]
    runtime: str
    target: Annotated[str, Meta(description="Container, or program.")]
    state: str
    default: Annotated[bool, Meta(description="Serves requests to `/v1` that name no model.")]
    footprint: Shares
    context: Annotated[int | UnsetType, Meta(description="Context length in tokens, where known.")] = UNSET
    capabilities: Annotated[
        list[str] | UnsetType, Meta(description="What the model can do, where known.")
    ] = UNSET
    phase: Annotated[str | UnsetType, Meta(description="How far a loading model is.")] = UNSET
    last_error: FailureReason | UnsetType = UNSET
    capture: CaptureStatus | UnsetType = UNSET


class LivenessResponse(Struct, frozen=True, kw_only=True):
    """Response of ``GET /health``: whether hotseat is up."""

    status: str


class HealthResponse(Struct, frozen=True, kw_only=True):
    """``GET /healthz``; what is left out depends on the key."""

    status: Annotated[str, Meta(description="`ok` or `unavailable`.")]
    routes: dict[str, RouteStatus] | UnsetType = UNSET
    budget: Shares | UnsetType = UNSET
    runtimes: Annotated[
        dict[str, str] | UnsetType, Meta(description="Runtimes that cannot be used, and why.")
    ] = UNSET
    warnings: Annotated[
        list[str] | UnsetType,
        Meta(description="What does not stop models and should be mended: a full disk, say."),
    ] = UNSET


class RoutesResponse(Struct, frozen=True, kw_only=True):
    """``GET /routes``: routes by name."""

    routes: dict[str, RouteStatus]


# stats


class Transition(Struct, frozen=True, kw_only=True):
    """The transition that brought a model into its present state."""

    was: str
    cause: str
    needed_by: Annotated[str | None, Meta(description="The model that it makes room for.")]
    at: Timestamp


class MinuteStats(Struct, frozen=True, kw_only=True):
    """A model's traffic in one minute."""

    at: Timestamp
    requests: int
    errors: int
    tokens_in: int
    tokens_out: int


class ModelStatus(Struct, frozen=True, kw_only=True):
    """A model as it is now, and what it has done since hotseat started."""

    state: str
    run: int | None
    phase: Annotated[str | None, Meta(description="How far a loading model is.")]
    eta_s: Annotated[float | None, Meta(description="Seconds until it is ready, estimated from past starts.")]
    since: Timestamp
    last_move: Transition | None
    in_flight: int
    waiting: int
    requested: Annotated[bool, Meta(description="A start was ordered and is yet to come.")]
    requests: int
    tokens_in: int
    tokens_out: int
    minutes: Annotated[list[MinuteStats], Meta(description="The last hour.")]
    starts: int
    spin_up_s: Annotated[list[float], Meta(description="Seconds that its latest starts took, oldest first.")]
    last_hit: Timestamp | None
    idle_stops: int
    evictions: int
    failures: int
    retry_in_s: Annotated[float | None, Meta(description="Seconds until a failed start is tried again.")]
    footprint: Shares
    last_error: FailureReason | None
    tokens_under_way: Annotated[
        int, Meta(description="Tokens of the streams that have not ended, estimated from their size.")
    ] = 0
    outdated: Annotated[
        str | None,
        Meta(description="How its container differs from the Compose file; the next start creates it anew."),
    ] = None


class ModelResponse(ModelStatus, frozen=True, kw_only=True):
    """``POST /admin/start`` and ``/admin/stop``: the model as it is then."""

    model: str


class GpuStatus(Struct, frozen=True, kw_only=True):
    """A GPU as its driver sees it."""

    device: str
    name: str
    total_mib: int
    used_mib: int
    busy_percent: int | None


class FailureEntry(Struct, frozen=True, kw_only=True):
    """A failure of the past."""

    at: Timestamp
    model: str
    run: int | None
    cause: str
    summary: str
    hint: str | None


class SwapEntry(Struct, frozen=True, kw_only=True, rename={"from_model": "from", "to_model": "to"}):
    """One model that left the GPU for another."""

    at: Timestamp
    from_model: str
    to_model: str


class StatsResponse(Struct, frozen=True, kw_only=True):
    """``GET /stats``: models by name, GPUs, and the latest failures and swaps, newest first."""

    models: dict[str, ModelStatus]
    budget: Shares
    gpus: list[GpuStatus]
    failures: list[FailureEntry]
    swaps: list[SwapEntry]
    unusable_runtimes: Annotated[dict[str, str], Meta(description="Runtimes that cannot be used, and why.")]
    since: Annotated[Timestamp, Meta(description="When hotseat started.")]


# logs and launches


class LogsResponse(Struct, frozen=True, kw_only=True):
    """Response of ``GET /logs/{model}`` without ``follow``: the latest lines."""

    model: str
    lines: list[str]


class MachineFacts(Struct, frozen=True, kw_only=True):
    """The machine that the launcher runs on."""

    host: str
    cpu: str
    cores: int | None
    memory_mib: int | None
    kernel: str
    boot: Annotated[str | None, Meta(description="Id of the running kernel's boot.")]
    gpus: Annotated[list[tuple[str, int]], Meta(description="Name and memory (MiB) of each.")]


class LaunchResponse(Struct, frozen=True, kw_only=True):
    """``GET /admin/launch/{model}``: how a model is run, and on which machine."""

    model: str
    runtime: str
    target: Annotated[str, Meta(description="Container, or program.")]
    image: str | None
    command: Annotated[list[str] | None, Meta(description="Secrets are shown as `***`.")]
    sleeps: bool
    footprint: Shares
    machine: MachineFacts
    hotseat: Annotated[str, Meta(description="hotseat's version.")]


# reload and capture


class ReloadResponse(Struct, frozen=True, kw_only=True):
    """``POST /admin/reload``: changed models, and settings that wait for a restart of hotseat."""

    status: str
    added: list[str]
    removed: list[str]
    changed: list[str]
    needs_restart: list[str]
    outdated: Annotated[
        list[str], Meta(description="Models whose container differs from the Compose file as it is now.")
    ] = []


class CaptureResponse(Struct, frozen=True, kw_only=True):
    """``POST /admin/capture``; the fields of the capture are left out where there is and was none."""

    model: str
    capturing: bool
    file: str | UnsetType = UNSET
    until: Timestamp | UnsetType = UNSET
    requests: int | UnsetType = UNSET
    bytes: int | UnsetType = UNSET
