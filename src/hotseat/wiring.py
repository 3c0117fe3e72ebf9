"""Composition: makes the parts of hotseat and hands each the others that it needs."""

from __future__ import annotations

import contextlib
import os
import random
import stat
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from hotseat import logs, machine
from hotseat.access_lines import for_people
from hotseat.admin.app import Admin
from hotseat.admin.control import Reload
from hotseat.config.load import environment
from hotseat.config.problems import ConfigError
from hotseat.core import effects as do
from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec, Settings
from hotseat.core.views import Upstream
from hotseat.engines.pick import engine_named
from hotseat.gateway.gateway import Gateway
from hotseat.gateway.policy.rate_limit import Limiter, MemoryLimiter
from hotseat.gateway.proxy.capture import Captures
from hotseat.gateway.proxy.lease import LeaseRefused
from hotseat.logs import redact
from hotseat.machine import user_name
from hotseat.mcp.endpoint import Listener, McpEndpoint
from hotseat.probing.gpu import GpuReader, GpuReading, open_gpus, wait_for_free_memory
from hotseat.probing.health import check_health, wait_until_ready
from hotseat.probing.sleep_mode import SleepMode
from hotseat.runtimes import registry
from hotseat.runtimes.base import Runtime
from hotseat.supervisor.ports import Drivers, Environment, Observers
from hotseat.supervisor.supervisor import Supervisor
from hotseat.telemetry.event_stream import EventStream
from hotseat.telemetry.finished_request import FinishedRequest
from hotseat.telemetry.history import FILE as HISTORY_FILE
from hotseat.telemetry.history import History
from hotseat.telemetry.metrics import Metrics
from hotseat.telemetry.recorder import Recorder
from hotseat.telemetry.tracing.setup import CannotTrace, open_tracer
from hotseat.web.app import Page, Site
from hotseat.web.control import InFlight, PageServices
from hotseat.web.sessions import FILE as SESSIONS_FILE
from hotseat.web.sessions import Sessions
from hotseat.weights.downloads import WeightDownloader
from hotseat.weights.read_ahead import WeightReader

log = structlog.get_logger("hotseat")

BYTES_OF_AN_EVENT = 230
"""About the size of an event with one token of a chat completion, as vLLM and llama.cpp write it."""
LEAST_FREE_BYTES = 1024 * 1024
"""With less space than this, the disk of the state directory counts as full."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0


class CannotServe(Exception):
    """hotseat cannot start; the message is for users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a running hotseat."""

    runtimes: dict[str, Runtime]
    """By name; a reload adds those that new models need."""
    recorder: Recorder
    supervisor: Supervisor
    admin: Admin
    page: Page
    mcp: McpEndpoint
    limiter: Limiter
    gateway: Gateway
    outdated: dict[str, str]
    """How the containers of models differ from their settings; the admin API reads it."""


def assemble(
    settings: Settings,
    state_dir: Path,
    *,
    on_move: Callable[[do.ReportMove], None],
    reload: Reload,
    preview: Callable[[], Awaitable[Mapping[str, Any]]],
    listener: Callable[[], Listener],
) -> Parts:
    """Make all parts. ``on_move`` is called with each state transition; ``reload`` serves the
    admin API's order to reload, ``preview`` says what that would change. ``listener`` is where it
    listens. Raises ``CannotServe``.
    """
    gpus = open_gpus()
    runtimes = make_runtimes(settings, state_dir)
    recorder = _recorder(settings, state_dir, upstream=lambda model: supervisor.upstream(model))
    supervisor = _supervisor(settings, runtimes, gpus, recorder, on_move)
    outdated: dict[str, str] = {}
    captures = Captures(state_dir / "captures", time.time)
    admin = Admin(
        settings,
        supervisor,
        recorder,
        wall_clock=time.time,
        reload=reload,
        capturing=captures,
        devices=lambda: _read_gpus(gpus),
        warnings=lambda: disk_warnings(state_dir),
        outdated=outdated,
        tokens_under_way=lambda model: _tokens_under_way(gateway, model),
    )
    sessions = Sessions(state_dir / SESSIONS_FILE, time.time)
    requests = _Requests()
    page = Page(
        settings,
        PageServices(
            seats=supervisor,
            requests=requests,
            recorder=recorder,
            sessions=sessions,
            captures=captures,
            devices=lambda: _read_gpus(gpus),
            preview=preview,
            wall_clock=time.time,
            clock=time.monotonic,
        ),
    )
    mcp = McpEndpoint(
        settings,
        listener=listener,
        sign_in=lambda credential: sessions.create(credential)[0],
        on_failure=_mcp_failed,
    )
    limiter = _limiter(settings.serve.rate_store)
    gateway = Gateway(
        settings,
        supervisor,
        Site(page.app, admin.app, mcp),
        local_only=settings.serve.open,
        write_log=_write_to_stdout,
        limiter=limiter,
        captures=captures,
        on_record=recorder.request_finished,
        trace=recorder.join_trace,
        sessions=sessions,
    )
    requests.gateway = gateway
    return Parts(
        runtimes=runtimes,
        recorder=recorder,
        supervisor=supervisor,
        admin=admin,
        page=page,
        mcp=mcp,
        limiter=limiter,
        gateway=gateway,
        outdated=outdated,
    )


class _Requests:
    """The gateway's requests for the page, which the gateway itself serves."""

    gateway: Gateway

    def in_flight(self) -> Sequence[InFlight]:
        return self.gateway.in_flight()

    def cancel(self, request_id: str) -> bool:
        return self.gateway.cancel(request_id)

    def watch(self, watcher: Callable[[FinishedRequest], None] | None) -> None:
        self.gateway.watch(watcher)


def make_state_dir(settings: Settings) -> Path:
    """Create the state directory if it is missing. Raises ``CannotServe``."""
    state_dir = Path(settings.serve.state_dir)
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CannotServe(f"cannot create state_dir {state_dir}: {error.strerror}") from error
    _keep_private(state_dir)
    return state_dir


def _keep_private(state_dir: Path) -> None:
    """Refuse a state directory that others own, and take their write permission on one of ours.

    What it holds decides which processes are ours. Raises ``CannotServe``.
    """
    try:
        status = state_dir.stat()
    except OSError as error:
        raise CannotServe(f"cannot read state_dir {state_dir}: {error.strerror}") from error
    if status.st_uid == os.geteuid():
        foreign = None
    elif status.st_uid == _ROOT and status.st_mode & stat.S_ISVTX:
        # As the launcher's image has it: everybody may keep files here, and nobody can replace another's.
        foreign = _foreign_entry(state_dir)
    else:
        foreign = state_dir
    if foreign is not None:
        raise CannotServe(
            f"state_dir {state_dir}: {foreign} belongs to user {user_name(foreign.lstat().st_uid)}, who "
            "could have hotseat adopt or end other processes: chown it to user "
            f"{user_name(os.geteuid())}, or set state_dir to another folder"
        )
    if status.st_uid != os.geteuid():
        return
    if status.st_mode & _OTHERS_WRITE:
        try:
            state_dir.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS_WRITE)
        except OSError as error:
            raise CannotServe(
                f"others can write to state_dir {state_dir} ({error.strerror} on changing that): "
                f"chmod go-w {state_dir}"
            ) from error
        log.warning("others could write to state_dir; no longer", state_dir=str(state_dir))


def _foreign_entry(folder: Path) -> Path | None:
    """Return something in a shared folder that neither we nor root have put there."""
    own = {os.geteuid(), _ROOT}
    return next((entry for entry in folder.iterdir() if entry.lstat().st_uid not in own), None)


def make_runtimes(
    settings: Settings, state_dir: Path, have: frozenset[str] = frozenset()
) -> dict[str, Runtime]:
    """Make the runtimes that the configured models need, without those that we ``have``."""
    return registry.create({model.runtime for model in settings.models.values()} - have, state_dir)


def _recorder(settings: Settings, state_dir: Path, *, upstream: Callable[[str], Upstream | None]) -> Recorder:
    try:
        tracer = open_tracer(
            settings, os.environ, upstream=upstream, redact=redact, on_trouble=_log_tracing_trouble
        )
    except CannotTrace as error:
        raise CannotServe(f"tracing: {error}") from None
    return Recorder(
        History(state_dir / HISTORY_FILE, _log_history_trouble),
        Metrics(settings.models),
        EventStream(),
        tracer,
        wall_clock=time.time,
        booted_at=_booted_at(),
    )


def _supervisor(
    settings: Settings,
    runtimes: Mapping[str, Runtime],
    gpus: GpuReader | None,
    recorder: Recorder,
    on_move: Callable[[do.ReportMove], None],
) -> Supervisor:
    async def memory_free(model: ModelSpec) -> Reason | None:
        if gpus is None or not registry.KINDS[model.runtime].on_this_machine:
            return None
        return await wait_for_free_memory(gpus, model.scheduling.footprint)

    files = WeightDownloader(lambda: runtimes, _environment)
    return Supervisor(
        settings,
        runtimes,
        Drivers(
            engine_of=lambda model: engine_named(model.engine),
            probe=wait_until_ready,
            check=check_health,
            memory_free=memory_free,
            sleeper=SleepMode(gpus),
            files=files,
            read_ahead=WeightReader(files.weight_files).read,
            host_memory_free=_host_memory_free,
        ),
        Observers(starts=recorder, on_move=on_move, on_phase=recorder.phase_entered),
        Environment(wall_clock=time.time, jitter=random.random),
        refused=LeaseRefused,
    )


def disk_warnings(state_dir: Path) -> list[str]:
    """Return what is wrong with the disk of the state directory, for people."""
    try:
        disk = os.statvfs(state_dir)
    except OSError as error:
        return [f"state_dir {state_dir} cannot be used ({error.strerror}): servers' output is not kept"]
    free = disk.f_bavail * disk.f_frsize
    if disk.f_flag & os.ST_RDONLY:
        return [
            f"the disk of state_dir {state_dir} is read-only: servers' output and the history are not kept"
        ]
    if free < LEAST_FREE_BYTES:
        return [
            f"the disk of state_dir {state_dir} is full ({free >> 10} KiB free): servers' output and the "
            "history may be lost; models start all the same"
        ]
    return []


def _host_memory_free(model: ModelSpec) -> Reason | None:
    """Check that a model may stand by: its host memory and the reserve are available."""
    need_mib = model.scheduling.standby_mib + model.standby_reserve_mib
    available_mib = machine.available_memory_mib()
    if available_mib is None or available_mib >= need_mib:
        return None
    return Reason(
        summary=f"{available_mib} MiB of host memory are available, {need_mib} are needed to prepare it"
    )


def _read_gpus(gpus: GpuReader | None) -> list[GpuReading]:
    return list(gpus.read().values()) if gpus else []


def _environment() -> Mapping[str, str]:
    """The environment with the ``.env`` file as it is now; without that file if it cannot be read."""
    try:
        return environment(os.environ)
    except ConfigError:
        return os.environ


def _tokens_under_way(gateway: Gateway, model: str) -> int:
    """Estimate the tokens of a model's streams so far: nothing is counted while they run."""
    streams = (one.bytes_out for one in gateway.in_flight() if one.model == model and one.stream)
    return sum(streams) // BYTES_OF_AN_EVENT


def _write_to_stdout(lines: bytes) -> None:
    if logs.is_for_people(sys.stdout):
        lines = for_people(lines, colours=logs.wants_colours(sys.stdout))
    with contextlib.suppress(OSError, ValueError):  # a closed pipe or a full disk must not fail requests
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()


def _limiter(store: str | None) -> Limiter:
    """Make the counter of rate limits: in memory, or in the Redis at ``store``. Raises ``CannotServe``."""
    if store is None:
        return MemoryLimiter(time.monotonic)
    from hotseat.gateway.policy.rate_limit_redis import (  # its libraries are an optional extra
        RateStoreUnavailable,
        RedisLimiter,
    )

    try:
        return RedisLimiter(store)
    except RateStoreUnavailable as error:
        raise CannotServe(f"rate_store: {error}") from None


def _booted_at() -> float:
    """Time of this machine's boot, in Unix seconds."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _mcp_failed(name: str, error: BaseException) -> None:
    log.error("task failed", task=name, exc_info=error)


def _log_history_trouble(why: str) -> None:
    log.warning("history", trouble=why)


def _log_tracing_trouble(why: str) -> None:
    log.warning("tracing", trouble=why)
