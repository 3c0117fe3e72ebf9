"""The configuration as frozen values that are already valid.

``config`` makes these from the file and the environment; everybody else only reads them. Shares of
a GPU's memory are whole parts per million (``ppm``): floats drift when they are added up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hotseat.core.access_spec import AuthSpec, PolicySpec

PPM = 1_000_000
"""All of one GPU's memory, in parts per million."""

Footprint = Mapping[str, int]
"""GPU memory by device: ``{"0": 180_000}`` is 18 % of device 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepSpec:
    """Sleep instead of a stop (vLLM's sleep mode)."""

    level: int = 1
    """1 keeps the weights in host memory, 2 drops them."""
    leftover: Footprint = field(default_factory=dict)
    """GPU memory expected to stay taken while asleep, until it is measured."""
    host_mib: int = 0
    """Host memory that a sleeping run takes, in MiB (level 1 only)."""
    idle_s: float | None = None
    """Seconds of sleep after which it is stopped; ``None``: never."""


class StandbyMode(StrEnum):
    """The occasions on which a model is started as far as the GPU before its turn."""

    OFF = "off"
    DEMAND = "demand"  # when a request must wait for GPU memory
    KEEP = "keep"  # also after it has left, for the next request


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulingSpec:
    """Properties of a model that the scheduler needs."""

    name: str
    footprint: Footprint
    idle_s: float | None = 1800.0
    """Seconds from the last lease given back to the stop; ``None``: never stopped for being idle."""
    start_timeout_s: float = 300.0
    download_timeout_s: float | None = None
    """Seconds that a download of missing files may take before a start; ``None``: nothing is downloaded."""
    drain_timeout_s: float = 60.0
    residency_s: float | None = None
    """The shortest turn, in seconds; ``None``: derived from the measured cost of a swap."""
    max_wait_s: float | None = None
    """Seconds of waiting after which a request may cut another model's turn short; ``None``: derived."""
    pinned: bool = False
    """Never evicted, and never stopped for being idle."""
    warm: bool = False
    """Wanted without demand: started when it fits, not stopped for being idle (preload, keep-warm)."""
    priority: int = 0
    max_in_flight: int | None = None
    """Leases held at once; ``None``: no limit. Further requests are queued."""
    max_queue: int | None = None
    """Requests queued at once; more are refused with 429. ``None``: no limit."""
    wait_limit_s: float | None = None
    """Seconds of waiting after which a request is refused; ``None``: derived from the other time-outs."""
    sleep: SleepSpec | None = None
    standby: StandbyMode = StandbyMode.OFF
    standby_mib: int = 0
    """Host memory expected to be taken while standing by, in MiB, until it is measured."""
    fingerprint: str = ""
    """Hash of all that a run depends on: a run with another one is stale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSpec:
    """The machine's budget and its models, as the scheduler sees them."""

    budget: Footprint
    """GPU memory that all models may take together, by device."""
    models: Mapping[str, SchedulingSpec]
    host_sleep_mib: int | None = None
    """MiB of host memory for models that sleep or stand by; ``None``: no limit.

    Beyond it those that stand by are stopped first, then the oldest sleeper."""
    return_to: str | None = None
    """Name of the model that is kept warm while nobody wants another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeSpec:
    """The Compose project that creates a container."""

    file: str
    project: str | None = None
    profiles: tuple[str, ...] = ()
    service: str | None = None
    """The service of the container; ``None``: the one whose ``container_name`` it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that runs on this machine and sees its files as hotseat does."""

    command: tuple[str, ...]
    """``{port}`` stands for the port that the runtime chose."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to hotseat's own environment, less its secrets."""
    cwd: str | None = None
    """Working directory; ``None``: hotseat's own."""


@dataclass(frozen=True, slots=True)
class LaunchSpec(ABC):
    """Launch of a model. Each runtime defines its own, a frozen dataclass (``runtimes/NAME/spec.py``).

    Everybody but the runtime asks through these properties and never for the class.
    """

    @property
    @abstractmethod
    def target(self) -> str:
        """Name of what is started: a program, a container."""

    def describe(self) -> str:
        """Return the target with its kind, for people: ``container coder``."""
        return self.target

    @property
    def program(self) -> Program | None:
        """The program that is run on this machine; ``None``: the server's command is written elsewhere."""
        return None

    @property
    def container_name(self) -> str | None:
        """The container on this machine's engine; ``None`` where there is none."""
        return None

    @property
    def compose_project(self) -> ComposeSpec | None:
        """The Compose project that creates the container; ``None`` where none is configured."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepWarmSpan:
    """A span of the week, in local wall-clock time."""

    days: frozenset[int]
    """Days on which it begins; Monday is 0."""
    start_min: int
    """Minutes since midnight."""
    end_min: int
    """Minutes since midnight, up to 1440; on the next day where it is not after the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepWarmSpec:
    """Weekly hours in which a model is kept warm."""

    spans: tuple[KeepWarmSpan, ...]
    zone: str = ""
    """IANA name of the time zone; empty: the machine's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model: how it is launched, reached, and scheduled."""

    name: str
    scheduling: SchedulingSpec
    launch: LaunchSpec
    runtime: str = "process"
    health_path: str = "/health"
    health_every_s: float | None = 5.0
    """Seconds between two health checks of a ready run; ``None``: only when it is suspected."""
    first_byte_timeout_s: float | None = 600.0
    """Seconds that a request waits for the first byte of its response; ``None``: no limit."""
    served_names: tuple[str, ...] = ()
    """Names that the server itself knows, the preferred one first; empty: unknown, names are passed on."""
    lora_names: tuple[str, ...] = ()
    """Names that clients may use and that the server knows too: passed on as they are."""
    asks_container: frozenset[str] = frozenset()
    """Settings that the operator left to the container's own command (``container_settings.ASKED``)."""
    upstream_key: str | None = field(default=None, repr=False)
    """API key of the server, sent as a Bearer token."""
    withheld: frozenset[str] = field(default=frozenset(), repr=False)
    """Variables of hotseat's own environment that a server does not inherit: their values are secrets of the
    configuration."""
    stop_grace_s: float = 10.0
    standby_reserve_mib: int = 0
    """Host memory that must stay available when it is prepared, in MiB."""
    engine: str = "openai"
    """The kind of server (``engines/``): ``vllm`` or ``openai``."""
    allow_paths: tuple[str, ...] = ()
    context: int | None = None
    """Tokens of a prompt and its answer together; ``None``: unknown."""
    capabilities: tuple[str, ...] = ()
    """What the model can do (``engines.abilities.CAPABILITIES``); empty: unknown."""
    keep_warm: KeepWarmSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSpec:
    """A public name and path prefix, and the model behind them."""

    name: str
    model: str
    path: str
    """Path prefix without a trailing slash: ``/chat``."""
    aliases: tuple[str, ...] = ()
    """Further values of the body's ``model`` that select this route."""
    priority: int = 0
    """Added to the model's own; requests of a higher one are served first."""
    policy: PolicySpec = field(default_factory=PolicySpec)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSpec:
    """Paths of the PEM files for HTTPS."""

    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class ListenSpec:
    """An address to listen on: a host and a port, or a Unix socket."""

    host: str = ""
    """Empty: all interfaces, IPv4 and IPv6. ``localhost``: both loopback addresses."""
    port: int = 0
    path: str | None = None
    """Of the Unix socket; it has neither host nor port."""
    mode: int = 0o660
    """Of the Unix socket's file."""

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSpec:
    """Settings of the server itself."""

    listen: tuple[ListenSpec, ...] = (ListenSpec("127.0.0.1", 8000),)
    open: bool = True
    """No key is configured: whoever reaches the port is served, so it must be on loopback."""
    state_dir: str
    default_route: str | None = None
    strict_models: bool = False
    access_log: bool = True
    """Whether requests without a route are in the access log; each route has a setting of its own."""
    hold_headers_s: float = 2.0
    comment_every_s: float = 2.0
    """Seconds between two comments in a silent stream; 0: none. A route may have its own."""
    body_limit_bytes: int = 32 * 1024 * 1024
    slow_client_s: float = 60.0
    """How long a client may take nothing of its response before it is cut off."""
    max_connections: int | None = None
    """Clients' connections at once; ``None``: as many as the descriptor limit allows."""
    body_memory_bytes: int = 64 * 1024 * 1024
    """What all request bodies that are held may take together."""
    leave_running: bool = False
    """Whether models are left running on exit, to be adopted by the next start."""
    drain_timeout_s: float = 60.0
    watch_config: bool = False
    """Whether the configuration is reloaded when its file changes."""
    rate_store: str | None = field(default=None, repr=False)
    """URL of a Redis that shares rate limits between launchers; ``None``: counted in memory."""
    lease: str | None = None
    """The Lease that several launchers share: one of them leads; ``None``: there is one launcher."""
    tls: TlsSpec | None = None
    tracing: bool | str | None = None
    """Whether traces are exported, or the URL to export to; ``None``: as the ``OTEL_*`` variables say."""

    @property
    def host(self) -> str:
        """The host of the first address, or the path of its Unix socket."""
        return self.listen[0].path or self.listen[0].host

    @property
    def port(self) -> int:
        """The port of the first address; 0 for a Unix socket."""
        return self.listen[0].port


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The resolved configuration of the whole program."""

    serve: ServeSpec
    scheduler: SchedulerSpec
    models: Mapping[str, ModelSpec]
    routes: tuple[RouteSpec, ...]
    auth: AuthSpec = field(default_factory=AuthSpec)
    secrets: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    """Clients' secrets in clear text, so that the log can redact them."""
    source: str = ""
    """Path of the file that it was read from, for messages."""
