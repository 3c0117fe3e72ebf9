"""The life of a hotseat process: open, reload, close."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
import uvloop

from hotseat import signals
from hotseat.admin.control import CannotReload
from hotseat.config.lockouts import lockouts
from hotseat.config.parsers.network import is_local
from hotseat.config.problems import ConfigError
from hotseat.container_settings import with_container_settings
from hotseat.core import effects as do
from hotseat.core.spec import ListenSpec, Settings
from hotseat.core.states import State
from hotseat.gateway.http.connection_limits import ConnectionLimits
from hotseat.gateway.http.server import Server, serve
from hotseat.gateway.http.tls import CertificateError, renew_certificate, server_context
from hotseat.listening import AddressUnavailable
from hotseat.mcp.endpoint import Listener
from hotseat.reload import compare, watch
from hotseat.runtimes import registry
from hotseat.runtimes.base import Leadership, ReportsOutdated, Runtime
from hotseat.standby import Standby
from hotseat.supervisor.supervisor import Supervisor
from hotseat.tasks import Tasks
from hotseat.wiring import CannotServe, assemble, make_runtimes, make_state_dir

__all__ = ["App", "CannotServe", "run"]

log = structlog.get_logger("hotseat")

LAST_BYTES_S = 5.0
"""How long connections may take to receive their last bytes once every model has stopped, in seconds."""
HURRIED_BYTES_S = 1.0
"""The same where hotseat was told twice to stop."""


class App:
    """A whole hotseat in this process: ``open`` it, ``reload`` its configuration, ``close`` it."""

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
        """As in force, and as written: containers fill in what the configuration leaves to them."""
        self._listen = settings.serve
        self._reread, self._watched = reread, watched
        self._state_dir = make_state_dir(settings)
        self._parts = assemble(
            settings,
            self._state_dir,
            on_move=self._moved,
            reload=self.reload,
            preview=self.preview_reload,
            listener=self._listener,
        )
        self._config_lock = asyncio.Lock()
        self._closing = self._hurried = False
        self._tasks = Tasks(_task_failed)
        self._ending = Tasks(_task_failed)
        """Tasks of the shutdown itself."""
        self._watch: asyncio.Task[None] | None = None
        self._sources: list[str] = []
        """Files that containers are created from."""
        self._source_watch: asyncio.Task[None] | None = None
        self._server: Server | None = None
        self._tls: ssl.SSLContext | None = None

    @property
    def supervisor(self) -> Supervisor:
        """The owner of all models."""
        return self._parts.supervisor

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The host and port of each socket that it listens on."""
        return self._server.addresses if self._server else []

    def _listener(self) -> Listener:
        """An address of our own to ask ourselves at."""
        host, port = self.addresses[0]
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port, self._tls is not None

    # several launchers

    async def stand_by(self, election: Leadership, stop: asyncio.Event) -> bool:
        """Answer that another launcher leads until this one does; false when told to ``stop`` before.

        Raises ``CannotServe``.
        """
        listen = self._listen
        try:
            server = await serve(Standby(), listen=listen.listen, tls=self._load_certificate())
        except AddressUnavailable as error:
            raise CannotServe(f"cannot listen on {error.address}: {error.strerror}") from error
        log.info("standing by", lease=listen.lease)
        acquired = self._tasks.start("leader election", election.acquire())
        stopped = self._tasks.start("stop while standing by", _wait(stop))
        await asyncio.wait((acquired, stopped), return_when=asyncio.FIRST_COMPLETED)
        if acquired.done():
            acquired.result()  # a bug in the election must not make it the leader
        leads = acquired.done() and not stop.is_set()
        for task in (acquired, stopped):
            task.cancel()
        await server.stop(LAST_BYTES_S if leads else 0)
        return leads

    # open

    async def open(self, sockets: list[socket.socket] | None = None) -> None:
        """Adopt the runs that an earlier hotseat left, then listen. Raises ``CannotServe``."""
        self._tls = self._load_certificate()
        async with self._config_lock:
            await self.supervisor.open(self._ask_containers)
            self._server = await self._start_server(sockets or [])
            self._parts.gateway.serve_on(self._server)
            self._log_addresses()
            self._warn_if_open()
            self._tasks.start("requests by minute", self._parts.recorder.minutes.run())
            self._watch_files()
            self._watch_sources()
            self._tasks.start("compare containers", self._compare_containers_again())

    def _load_certificate(self) -> ssl.SSLContext | None:
        try:
            return server_context(self._listen.tls) if self._listen.tls else None
        except CertificateError as error:
            raise CannotServe(str(error)) from error

    async def _start_server(self, sockets: list[socket.socket]) -> Server:
        try:
            return await serve(
                self._parts.gateway,
                listen=self._listen.listen,
                sockets=sockets,
                limits=ConnectionLimits(
                    slow_client_s=self._listen.slow_client_s, max_connections=self._listen.max_connections
                ),
                tls=self._tls,
            )
        except AddressUnavailable as error:
            await self.supervisor.close(leave_running=True)
            raise CannotServe(f"cannot listen on {error.address}: {error.strerror}") from error

    def _log_addresses(self) -> None:
        scheme = "https" if self._tls else "http"
        urls = [f"{scheme}://{ListenSpec(host, port)}" for host, port in self.addresses]
        urls += [f"unix:{path}" for path in (self._server.socket_files if self._server else ())]
        for url in urls:
            log.info("listening", url=url, models=list(self.settings.models))

    def _warn_if_open(self) -> None:
        """Warn about everything that needs no key: an opt-out must not be overlooked."""
        settings = self.settings
        if not settings.auth.required:
            what = "every model" if settings.auth.keys else "every model and the admin API"
            log.warning(f"AUTH IS OFF: anyone who reaches the port can use {what}", reason="auth: off")
        for locked in lockouts(settings, time.time()):
            log.warning(locked.message, fix=locked.fix)
        for route in settings.routes:
            if settings.auth.enforced and not route.policy.auth:
                log.warning("this route is open: it needs no key", route=route.name, path=route.path)

    # reload

    async def reload(self) -> Mapping[str, list[str]]:
        """Read the configuration again and apply it; unchanged models keep running.

        Returns what it changes (``reload.ConfigChanges``). Raises ``CannotReload``; then nothing has changed.
        """
        async with self._config_lock:
            new = await self._read_again()
            self._renew_certificate()
            changes = compare(self._written, new)
            await self._compare_containers(new)
            await self._apply_written(new)
            self._warn_if_open()
            self._watch_files()
            self._watch_sources()
        summary = {**changes.as_dict(), "outdated": list(self._parts.outdated)}
        log.info("configuration reloaded", **{name: names for name, names in summary.items() if names})
        if changes.needs_restart:
            log.warning("restart hotseat to apply these settings", settings=list(changes.needs_restart))
        return summary

    async def preview_reload(self) -> Mapping[str, Any]:
        """Compare the file with the configuration in effect: the changes, or the file's ``problems``."""
        try:
            new = await self._read_again()
        except CannotReload as error:
            return {"problems": error.problems}
        return {"problems": [], **compare(self._written, new).as_dict()}

    def reload_soon(self, why: str) -> None:
        """Start a reload in the background; its outcome is logged."""
        if self._closing:
            return
        log.info("reloading the configuration", why=why)
        self._tasks.start("reload", self._reload_quietly())

    async def _reload_quietly(self) -> None:
        with contextlib.suppress(CannotReload):  # it has been logged
            await self.reload()

    async def _read_again(self) -> Settings:
        if self._closing:
            raise CannotReload(["hotseat is shutting down"])
        if self._reread is None:
            raise CannotReload(["hotseat was started without a configuration file"])
        try:
            new = await asyncio.to_thread(self._reread)
        except ConfigError as error:
            problems = [str(problem) for problem in error.problems]
        else:
            if not new.serve.open or all(map(is_local, self._listen.listen)):
                return new
            # It goes on listening where it was started, whatever the file says now.
            problems = [
                f"without a key, hotseat must not listen on {', '.join(map(str, self._listen.listen))}: "
                "configure a key, or restart hotseat"
            ]
        log.error("configuration not reloaded", problems=problems)
        raise CannotReload(problems)

    def _renew_certificate(self) -> None:
        """Load the files of ``tls`` again: they may hold a new certificate."""
        if self._tls is None or self._listen.tls is None:
            return
        try:
            renew_certificate(self._tls, self._listen.tls)
        except CertificateError as error:
            log.error("configuration not reloaded", problems=[str(error)])
            raise CannotReload([str(error)]) from None

    async def _apply_written(self, written: Settings) -> None:
        known = self._parts.runtimes
        added = make_runtimes(written, self._state_dir, have=frozenset(known))
        await self._apply(await with_container_settings(written, known | added, self.settings), added)
        self._written = written
        if added:  # these can be asked only once they are open
            await self._ask_containers()

    async def _apply(self, settings: Settings, added: dict[str, Runtime]) -> None:
        """Put a configuration into force; ``added`` are runtimes that are not open yet."""
        parts = self._parts
        parts.runtimes.update(added)
        await parts.supervisor.configure(settings, added)
        parts.recorder.configure(settings.models)
        parts.admin.configure(settings)
        parts.page.configure(settings)
        parts.mcp.configure(settings)
        parts.gateway.configure(settings, local_only=settings.serve.open)
        self.settings = settings

    async def _ask_containers(self) -> None:
        """Have the containers fill in what the configuration leaves to them."""
        completed = await with_container_settings(self._written, self._parts.runtimes, self.settings)
        if completed != self.settings:
            await self._apply(completed, {})

    async def _ask_containers_again(self) -> None:
        """Ask once more after a container started: it may have been recreated with other flags."""
        async with self._config_lock:
            await self._ask_containers()

    async def _compare_containers(self, settings: Settings) -> None:
        """Find the containers that were made from other settings than their files have now."""
        found: dict[str, str] = {}
        for model in settings.models.values():
            runtime = self._parts.runtimes.get(model.runtime)
            if isinstance(runtime, ReportsOutdated) and (why := await runtime.outdated(model)) is not None:
                found[model.name] = why
        known = self._parts.outdated
        for name, why in found.items():
            if name not in known:
                log.warning("this model is outdated; its next start creates it anew", model=name, why=why)
        known.clear()
        known.update(found)

    async def _compare_containers_again(self) -> None:
        async with self._config_lock:
            before = dict(self._parts.outdated)
            await self._compare_containers(self._written)
            if before != self._parts.outdated:
                await self._ask_containers()

    def _compare_containers_soon(self) -> None:
        if not self._closing:
            self._tasks.start("compare containers", self._compare_containers_again())

    def _watch_sources(self) -> None:
        """Watch the files that containers are created from, so that a change is told at once."""
        files: dict[str, None] = {}
        for model in self._written.models.values():
            runtime = self._parts.runtimes.get(model.runtime)
            if isinstance(runtime, ReportsOutdated):
                files |= dict.fromkeys(runtime.sources_of(model))
        if list(files) == self._sources:
            return
        self._sources = list(files)
        if self._source_watch is not None:
            self._source_watch.cancel()
            self._source_watch = None
        if files:
            changes = watch(self._sources, self._compare_containers_soon)
            self._source_watch = self._tasks.start("watch the files of containers", changes)

    def _watch_files(self) -> None:
        wanted = self.settings.serve.watch_config and bool(self._watched)
        if wanted and self._watch is None:
            changes = watch(self._watched, lambda: self.reload_soon("its file has changed"))
            self._watch = self._tasks.start("watch configuration", changes)
        elif not wanted and self._watch is not None:
            self._watch.cancel()
            self._watch = None

    # while it runs

    def _moved(self, move: do.ReportMove) -> None:
        self._parts.recorder.moved(move)
        if move.run is not None and move.new in (State.STOPPED, State.BACKOFF):
            self._parts.gateway.run_ended(move.model, move.run)
        model = self.settings.models.get(move.model)
        if move.new is State.READY and model is not None and model.asks_container and not self._closing:
            self._tasks.start(f"ask container of {move.model}", self._ask_containers_again())
        if move.model in self._parts.outdated and move.new in (State.READY, State.STOPPED):
            self._compare_containers_soon()

    # close

    async def close(self) -> None:
        """Refuse new requests, give running ones their drain time, stop the models and close the port.

        With ``on_exit: leave`` the models keep running, for the next start to adopt.
        """
        log.info(self._shutdown_notice())
        self._closing = True
        await self._tasks.close()
        if self.settings.serve.leave_running:
            await self._leave_models()
        else:
            await self._stop_models()
        await self._ending.close()
        await self._parts.mcp.close()
        self._parts.gateway.close()
        await self._parts.limiter.close()
        await self._parts.recorder.close()

    async def _leave_models(self) -> None:
        self._parts.admin.close()
        self._parts.page.close()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.supervisor.close(leave_running=True))
            await self._stop_server(self.settings.serve.drain_timeout_s)

    async def _stop_models(self) -> None:
        await self.supervisor.close()
        self._parts.admin.close()  # readers of /events have seen the models stop by now
        self._parts.page.close()
        await self._stop_server(LAST_BYTES_S)

    async def _stop_server(self, within_s: float) -> None:
        if self._server is not None:  # none while it is still opening
            await self._server.stop(min(within_s, HURRIED_BYTES_S) if self._hurried else within_s)

    def stop_at_once(self) -> None:
        """Have ``close`` wait no longer: responses under way end with an error, servers are killed."""
        self._hurried = True
        count = sum(view.in_flight for view in self.supervisor.views().values())
        answers = f"cutting {_answers(count)}" if count else "no answer is under way"
        leave = self.settings.serve.leave_running
        log.warning(f"stopping now: {answers}; models {'keep running' if leave else 'are killed'}")
        self.supervisor.stop_at_once()
        if self._server is not None and self._closing:
            self._ending.start("cut connections", self._server.stop(HURRIED_BYTES_S))

    def _shutdown_notice(self) -> str:
        """Say what happens to the models, and how long answers under way may take."""
        answers = {name: view.in_flight for name, view in self.supervisor.views().items() if view.in_flight}
        if self.settings.serve.leave_running:
            what, most_s = "shutting down; models keep running", self.settings.serve.drain_timeout_s
        else:
            drains = [self.settings.models[name].scheduling.drain_timeout_s for name in answers]
            what, most_s = "stopping all models", max(drains, default=0.0)
        count = sum(answers.values())
        if not count:
            return what
        return f"{what}; waiting up to {most_s:g} s for {_answers(count)}, Ctrl-C again to stop now"


def _answers(count: int) -> str:
    return f"{count} {'answer' if count == 1 else 'answers'}"


def run(settings: Settings, reread: Callable[[], Settings], watched: Sequence[str]) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads. Raises ``CannotServe``."""

    async def main() -> None:
        await _serve_until_stopped(App(settings, reread, watched))

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())


async def _serve_until_stopped(app: App) -> None:
    stops = signals.StopSignals()
    signals.install_handlers(stops, lambda: app.reload_soon("SIGHUP"))
    lease = app.settings.serve.lease
    election = _election(lease) if lease is not None else None
    try:
        if election is None or await app.stand_by(election, stops.stop):
            await _lead(app, election, stops)
    finally:
        if election is not None:
            await election.close()
    log.info("hotseat has stopped")


def _election(lease: str) -> Leadership:
    try:
        return registry.elect(lease)
    except ImportError:
        raise CannotServe("lease needs the package lightkube: pip install 'hotseat[kubernetes]'") from None


async def _lead(app: App, election: Leadership | None, stops: signals.StopSignals) -> None:
    tasks = Tasks(_task_failed)
    if election is not None:
        tasks.start("leadership", _stop_when_lost(election, stops))
    await _open(app, stops)
    _tune_garbage_collector()
    await stops.stop.wait()
    await tasks.close()
    if election is not None:
        # The next leader adopts the models at once, while answers under way come to their end here.
        await election.release()
    async with asyncio.TaskGroup() as group:
        hurrying = group.create_task(_hurry(app, stops))
        closing = group.create_task(app.close())
        closing.add_done_callback(lambda _: hurrying.cancel())


async def _stop_when_lost(election: Leadership, stops: signals.StopSignals) -> None:
    await election.lost()
    stops.stop.set()


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _open(app: App, stops: signals.StopSignals) -> None:
    """Open it. The second signal breaks that off; the first does not, so that all that runs is known."""
    opening = asyncio.current_task()
    assert opening is not None
    watchers = Tasks(_task_failed)
    watchers.start("broken off", _cancel_when(stops.at_once, opening))
    try:
        await app.open()
    except asyncio.CancelledError:
        if not stops.at_once.is_set():
            raise
        opening.uncancel()
        log.warning("the start was broken off")
    finally:
        await watchers.close()


async def _cancel_when(event: asyncio.Event, task: asyncio.Task[Any]) -> None:
    await event.wait()
    task.cancel()


async def _hurry(app: App, stops: signals.StopSignals) -> None:
    await stops.at_once.wait()
    app.stop_at_once()


def _tune_garbage_collector() -> None:
    """Collect seldom: what exists after the start stays, and requests leave no reference cycles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _task_failed(name: str, error: BaseException) -> None:
    log.error("task failed", task=name, exc_info=error)
