"""The composition root: makes the parts, hands each the others it needs, and sees the program to its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvloop

from hotseat.admin.app import Admin
from hotseat.admin.control import CannotReload
from hotseat.config.load import environment
from hotseat.config.parsers.values import is_loopback
from hotseat.config.problems import ConfigError
from hotseat.container_settings import as_they_are
from hotseat.core import effects as do
from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec, Settings, TlsSpec
from hotseat.core.states import State
from hotseat.engines.pick import engine_named
from hotseat.gateway.gateway import Gateway
from hotseat.gateway.http.server import Server, serve
from hotseat.gateway.policy.rate_limit import Limiter, MemoryLimiter
from hotseat.gateway.proxy.access_log import RequestRecord
from hotseat.gateway.proxy.capture import Captures
from hotseat.gateway.proxy.lease import LeaseRefused
from hotseat.logs import redact
from hotseat.probing.gpu import GpuReading, open_gpus, room_for
from hotseat.probing.readiness import ProbeAnswer, probe_once, until_ready
from hotseat.probing.sleep_mode import SleepMode
from hotseat.reload import compare, watch
from hotseat.runtimes.base import Handle, Runtime
from hotseat.runtimes.process.runtime import ProcessRuntime
from hotseat.supervisor.ports import Drivers, Environment, Observers
from hotseat.supervisor.supervisor import Supervisor
from hotseat.tasks import Tasks
from hotseat.telemetry.event_stream import EventStream
from hotseat.telemetry.history import FILE as HISTORY_FILE
from hotseat.telemetry.history import History
from hotseat.telemetry.metrics import Metrics
from hotseat.telemetry.recorder import Recorder
from hotseat.telemetry.tracing.setup import CannotTrace, open_tracer
from hotseat.weights.downloads import WeightDownloader

if TYPE_CHECKING:
    from hotseat.telemetry.tracing.tracer import Tracer

log = structlog.get_logger("hotseat")

LAST_BYTES_S = 5.0
"""What connections get to take their last bytes once every model has gone."""
HEALTH_PATIENCE = 2.0
"""A ready server may be busy (a long prompt, many streams) before it answers a health check: it gets so many
times the pause between two checks."""
DOUBT_TIMEOUT_S = 10.0
"""What it gets where there is no such pause."""


class CannotServe(Exception):
    """hotseat cannot start, in words for a person."""


class App:
    """hotseat, whole: open it, serve with it, close it."""

    def __init__(
        self,
        settings: Settings,
        reread: Callable[[], Settings] | None = None,
        watched: Sequence[str] = (),
    ) -> None:
        """``reread()`` reads the configuration again (raises ``ConfigError``); without it there is no reload.

        ``watched`` are the files that ``watch_config`` looks at. Raises ``CannotServe``.
        """
        self.settings = self._written = settings
        """As it is in force, and as it was written: the containers fill in what that leaves open."""
        self._listen = settings.serve
        self._reread, self._watched = reread, watched
        self._changing = asyncio.Lock()
        self._closing = False
        self._tasks = Tasks(_task_failed)
        self._watch: asyncio.Task[None] | None = None
        self._state_dir = state_dir = Path(settings.serve.state_dir)
        try:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise CannotServe(f"state_dir {state_dir} cannot be made: {error.strerror}") from error
        self._tracer: Tracer | None = None
        self._gpus = open_gpus()
        self._history = History(state_dir / HISTORY_FILE, _history_trouble)
        self._chronicle = Recorder(
            self._history,
            Metrics(settings.models),
            EventStream(),
            wall_clock=time.time,
            booted_at=_booted_at(),
        )
        self._runtimes = _runtimes(settings, state_dir)
        self.supervisor = Supervisor(
            settings,
            self._runtimes,
            Drivers(
                engine_of=lambda model: engine_named(model.engine),
                probe=_probe,
                check=_check,
                memory_free=self._room,
                sleeper=SleepMode(self._gpus),
                files=WeightDownloader(lambda: self._runtimes, _environment),
            ),
            Observers(starts=self._chronicle, on_move=self._moved, on_phase=self._entered),
            Environment(),
            refused=LeaseRefused,
        )
        captures = Captures(state_dir / "captures", time.time)
        self.admin = Admin(
            settings,
            self.supervisor,
            self._chronicle,
            wall_clock=time.time,
            reload=self.reload,
            capturing=captures,
            devices=self._devices,
        )
        self._limiter = _limiter(settings.serve.rate_store)
        self.gateway = Gateway(
            settings,
            self.supervisor,
            self.admin.app,
            local_only=settings.serve.open,
            write_log=_write_out,
            limiter=self._limiter,
            captures=captures,
        )
        self.gateway.books.on_record = self._chronicle.metrics.finished
        self._tracer = self._open_tracer()
        self._server: Server | None = None
        self._tls: ssl.SSLContext | None = None

    async def open(self, sockets: list[socket.socket] | None = None) -> None:
        """Take back what runs, then listen. Raises ``CannotServe``."""
        tls = self._tls = _tls(self._listen.tls) if self._listen.tls else None
        async with self._changing:
            await self.supervisor.open(self._ask_containers)
            where = self._listen
            try:
                self._server = await serve(
                    self.gateway, host=where.host, port=where.port, sockets=sockets or (), tls=tls
                )
            except OSError as error:
                await self.supervisor.close(leave_running=True)
                raise CannotServe(f"cannot listen on {where.host}:{where.port}: {error.strerror}") from error
            for host, port in self._server.addresses:
                url = f"{'https' if tls else 'http'}://{host}:{port}"
                log.info("listening", url=url, models=list(self.settings.models))
            self._warn_if_open()
            self._tasks.start("requests by minute", self._chronicle.keep())
            self._watch_files()

    async def reload(self) -> Mapping[str, list[str]]:
        """Read the configuration again and apply it; models that are as they were run on.

        Returns what it changes (``reload.Changes``). Raises ``CannotReload``: then nothing has changed.
        """
        async with self._changing:
            new = await self._read_again()
            self._renew_certificate()
            changes = compare(self._written, new)
            needed = _runtimes(new, self._state_dir, have=frozenset(self._runtimes))
            await self._apply(await as_they_are(new, self._runtimes | needed, self.settings), needed)
            self._written = new
            if needed:  # they could not be asked before they were opened
                await self._ask_containers()
            self._warn_if_open()
            self._watch_files()
        told = changes.as_dict()
        log.info("configuration reloaded", **{name: names for name, names in told.items() if names})
        if changes.needs_restart:
            log.warning("needs a restart of hotseat", settings=list(changes.needs_restart))
        return told

    async def _apply(self, settings: Settings, more: dict[str, Runtime]) -> None:
        """Put a configuration into force; ``more`` are runtimes that it needs and we lack."""
        self._runtimes |= more
        await self.supervisor.configure(settings, more)
        self._chronicle.metrics.configure(settings.models)
        self.admin.configure(settings)
        self.gateway.configure(settings, local_only=settings.serve.open)
        self.settings = settings

    async def _ask_containers(self) -> None:
        """Have the containers fill in what the configuration leaves to them."""
        completed = await as_they_are(self._written, self._runtimes, self.settings)
        if completed != self.settings:
            await self._apply(completed, {})

    async def _ask_containers_again(self) -> None:
        """A container is up: it may have been made anew, with other flags than the last one's."""
        async with self._changing:
            await self._ask_containers()

    def _warn_if_open(self) -> None:
        """The opt-out must not be overlooked."""
        settings = self.settings
        if not settings.auth.required:
            what = "every model" if settings.auth.keys else "every model and the admin API"
            log.warning(f"AUTH IS OFF: whoever reaches the port may use {what}", reason="auth: off")
        for route in settings.routes:
            if settings.auth.enforced and not route.policy.auth:
                log.warning("a route is open: it needs no key", route=route.name, path=route.path)

    async def _read_again(self) -> Settings:
        if self._closing:
            raise CannotReload(["hotseat is shutting down"])
        if self._reread is None:
            raise CannotReload(["this hotseat was started without a file to read again"])
        try:
            new = await asyncio.to_thread(self._reread)
        except ConfigError as error:
            problems = [str(problem) for problem in error.problems]
        else:
            if not new.serve.open or is_loopback(self._listen.host):
                return new
            # It listens where it was started, whatever the file says now.
            problems = [f"without a key, hotseat may not go on listening on {self._listen.host}: restart it"]
        log.error("configuration not reloaded", problems=problems)
        raise CannotReload(problems)

    def _renew_certificate(self) -> None:
        """The files of ``tls`` may hold others by now: connections to come get them."""
        if self._tls is None or self._listen.tls is None:
            return
        spec = self._listen.tls
        try:
            _tls(spec)  # one that fails halfway would spoil the context in use
        except CannotServe as error:
            log.error("configuration not reloaded", problems=[str(error)])
            raise CannotReload([str(error)]) from None
        self._tls.load_cert_chain(spec.cert, spec.key, password="")

    def reload_soon(self, why: str) -> None:
        """Reload in a task of our own; what comes of it is in the log."""
        if self._closing:
            return
        log.info("reloading the configuration", why=why)
        self._tasks.start("reload", self._reload_and_go_on())

    async def _reload_and_go_on(self) -> None:
        with contextlib.suppress(CannotReload):  # said in the log
            await self.reload()

    def _watch_files(self) -> None:
        wanted = self.settings.serve.watch_config and bool(self._watched)
        if wanted and self._watch is None:
            changed = watch(self._watched, lambda: self.reload_soon("its file has changed"))
            self._watch = self._tasks.start("watch configuration", changed)
        elif not wanted and self._watch is not None:
            self._watch.cancel()
            self._watch = None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens: host and port."""
        return self._server.addresses if self._server else []

    async def close(self) -> None:
        """Refuse what is new, let streams end within their drain time, stop the models, let go of the port.

        With ``on_exit: leave`` the models keep running, for the next start to adopt.
        """
        serve = self.settings.serve
        assert self._server is not None
        self._closing = True
        await self._tasks.close()
        if serve.leave_running:
            self.admin.close()
            async with asyncio.TaskGroup() as group:
                group.create_task(self.supervisor.close(leave_running=True))
                await self._server.stop(serve.drain_timeout_s)
        else:
            await self.supervisor.close()
            self.admin.close()  # who watches has seen the models go
            await self._server.stop(LAST_BYTES_S)
        self.gateway.close()
        if self._tracer is not None:
            await self._tracer.close()
        await self._limiter.close()
        self._chronicle.write_minute()
        self._history.close()

    async def _room(self, model: ModelSpec) -> Reason | None:
        return await room_for(self._gpus, model.scheduling.footprint) if self._gpus else None

    def _devices(self) -> list[GpuReading]:
        return list(self._gpus.read().values()) if self._gpus else []

    def _open_tracer(self) -> Tracer | None:
        """Have traces made and sent, where they are wanted. Raises ``CannotServe``."""
        models, count = self.settings.models, self._chronicle.metrics.finished
        try:
            tracer = open_tracer(
                self.settings.serve,
                os.environ,
                engine=lambda model: models[model].engine if model in models else "",
                upstream=self.supervisor.upstream,
                redact=redact,
                said=_trace_trouble,
            )
        except CannotTrace as error:
            raise CannotServe(f"tracing: {error}") from None
        if tracer is None:
            return None

        def ended(record: RequestRecord) -> None:
            count(record)
            tracer.ended(record)

        self.gateway.books.on_record, self.gateway.trace = ended, tracer.begin
        return tracer

    def _entered(self, model: str, run: int, phase: str) -> None:
        self._chronicle.entered(model, run, phase)
        if self._tracer is not None:
            self._tracer.entered(model, phase)

    def _moved(self, move: do.ReportMove) -> None:
        self._chronicle.moved(move)
        if self._tracer is not None:
            self._tracer.moved(move)
        if move.run is not None and move.new in (State.STOPPED, State.BACKOFF):
            self.gateway.run_ended(move.model, move.run)
        model = self.settings.models.get(move.model)
        if move.new is State.READY and model is not None and model.asks_container and not self._closing:
            self._tasks.start(f"ask container of {move.model}", self._ask_containers_again())


def _environment() -> Mapping[str, str]:
    """With the ``.env`` file as it is now; without one that cannot be read."""
    try:
        return environment(os.environ)
    except ConfigError:
        return os.environ


def _write_out(lines: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):  # a closed pipe or a full disk is no fault of a request's
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()


def _limiter(store: str | None) -> Limiter:
    """Where limits are counted. Raises ``CannotServe``."""
    if store is None:
        return MemoryLimiter(time.monotonic)
    from hotseat.gateway.policy.rate_limit_redis import (  # its libraries come with an extra
        RateStoreUnavailable,
        RedisLimiter,
    )

    try:
        return RedisLimiter(store)
    except RateStoreUnavailable as error:
        raise CannotServe(f"rate_store: {error}") from None


def _tls(spec: TlsSpec) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(spec.cert, spec.key, password="")  # never ask on the terminal
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or error.__class__.__name__
        raise CannotServe(
            f"tls: {spec.cert} and {spec.key} are no certificate with its key: {why}"
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def _booted_at() -> float:
    """When this machine was booted, in Unix time."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _history_trouble(why: str) -> None:
    log.warning("history", trouble=why)


def _trace_trouble(what: str) -> None:
    log.warning("tracing", trouble=what)


def _task_failed(name: str, error: BaseException) -> None:
    log.error("task failed", task=name, exc_info=error)


def _runtimes(settings: Settings, state_dir: Path, have: frozenset[str] = frozenset()) -> dict[str, Runtime]:
    """The runtimes that the configured models need, less those of ``have``."""
    names = {model.runtime for model in settings.models.values()} - have
    made: dict[str, Runtime] = {}
    if "process" in names:
        made["process"] = ProcessRuntime(state_dir)
    if "docker" in names:
        from hotseat.runtimes.docker.runtime import (
            DockerRuntime,  # aiohttp comes with it, so only when it is used
        )

        made["docker"] = DockerRuntime()
    return made


def _key_of(model: ModelSpec) -> dict[str, str]:
    return {"Authorization": f"Bearer {model.upstream_key}"} if model.upstream_key else {}


async def _probe(model: ModelSpec, handle: Handle, poke: asyncio.Event) -> None:
    path = handle.base_path + model.health_path
    await until_ready(handle.host, handle.port, path, poke, headers=_key_of(model))


async def _check(model: ModelSpec, handle: Handle) -> str | None:
    path = handle.base_path + model.health_path
    every_s = model.health_every_s
    timeout_s = DOUBT_TIMEOUT_S if every_s is None else max(HEALTH_PATIENCE * every_s, 1.0)
    result = await probe_once(handle.host, handle.port, path, headers=_key_of(model), timeout_s=timeout_s)
    # What we cannot ask for want of descriptors is no fault of the server's.
    return None if result.ready or result.answer is ProbeAnswer.NOT_ASKED else str(result)


async def _serve_until_told(app: App) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _told_to_end, told, number)
    loop.add_signal_handler(signal.SIGHUP, _hung_up, app, told, _has_terminal())
    await app.open()
    _calm_the_collector()
    await told.wait()
    log.info("shutting down", models="left running" if app.settings.serve.leave_running else "stopped")
    await app.close()
    log.info("ended")


def _calm_the_collector() -> None:
    """What is there now will stay, and what requests leave behind goes without the collector: look seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _told_to_end(told: asyncio.Event, number: signal.Signals) -> None:
    if told.is_set():  # told twice: end now; what still runs is adopted or swept by the next start
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    told.set()


def _hung_up(app: App, told: asyncio.Event, had_terminal: bool) -> None:
    """SIGHUP means reload, unless it says that our terminal was closed."""
    if had_terminal and not _has_terminal():
        told.set()
    else:
        app.reload_soon("SIGHUP")


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def run(settings: Settings, reread: Callable[[], Settings], watched: Sequence[str]) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads. Raises ``CannotServe``."""

    async def main() -> None:
        await _serve_until_told(App(settings, reread, watched))

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
