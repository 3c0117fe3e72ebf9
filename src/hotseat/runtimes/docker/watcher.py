"""Watches the containers of the configured models: events of the engine, and a resync after each.

An event only says that something happened; the state is always read anew (``docker inspect``), so that
repeated, lost or late events do no harm.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec
from hotseat.runtimes.base import FoundRun, Handle, HealthReport, LaunchError
from hotseat.runtimes.docker import address as addresses
from hotseat.runtimes.docker import inspection
from hotseat.runtimes.docker.inspection import DockerError, DockerUnavailable, EventEvidence
from hotseat.runtimes.docker.run import ContainerRun
from hotseat.runtimes.docker.spec import docker_spec
from hotseat.tasks import Tasks

if TYPE_CHECKING:
    from hotseat.runtimes.docker.engine import DockerEngine

log = structlog.get_logger("hotseat")

_RECONNECT_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_RESYNC_RETRY_S = 0.5
_REPLAY_S = 10.0
"""Seconds before the connection from which events are replayed, so that none falls into the gap."""
_ENDED_KEPT = 64
_STATE_CHANGES = {"start", "die", "destroy", "rename"}
"""Events after which the state may have changed. After the others (a signal sent, for one) it has not yet,
and an inspection would wait until the engine has cleaned up, a tenth of a second or more.
"""


@dataclass(frozen=True, slots=True)
class ContainerEvent:
    """One event of a container, from the engine's event stream."""

    at_ns: int
    action: str
    container: str
    attributes: Mapping[str, Any]


class ContainerWatcher:
    """The models' containers and their runs, kept up to date."""

    def __init__(self, engine: DockerEngine) -> None:
        self.engine = engine
        self.unusable_reason: str | None = f"the Docker Engine at {engine.url} has not been asked yet"
        """Why the engine cannot be used now."""
        self.models: dict[str, ModelSpec] = {}
        self.runs: dict[str, ContainerRun] = {}
        """The current run of each model; one that has ended stays until the next begins."""
        self._ended: dict[str, ContainerRun] = {}
        """The latest ended runs by ident, for callers that ask after the next run has begun."""
        self.found_runs: asyncio.Queue[FoundRun] = asyncio.Queue()
        self.health_reports: asyncio.Queue[HealthReport] = asyncio.Queue()
        self._tasks = Tasks(self._task_failed)
        self._tried = asyncio.Event()
        self._resync_wanted: dict[str, asyncio.Event] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._launching: set[str] = set()
        self._inspected: set[str] = set()
        """Models that have been inspected once: a run that appears later was started by others."""
        self._recent_events: deque[ContainerEvent] = deque(maxlen=1000)

    async def open(self) -> None:
        """Connect; returns after the first attempt, successful or not."""
        self._tasks.start("docker events", self._stream_events())
        await self._tried.wait()

    async def close(self) -> None:
        """Stop watching and disconnect."""
        await self._tasks.close()
        await self.engine.close()

    def usable(self) -> DockerEngine:
        """Return the engine. Raises ``DockerUnavailable`` where it cannot be used."""
        if self.unusable_reason is not None:
            raise DockerUnavailable(self.unusable_reason)
        return self.engine

    def track(self, model: ModelSpec) -> None:
        """Watch this model's container from now on."""
        self.models[model.name] = model
        self._start_resyncing(model.name)

    def _start_resyncing(self, model: str) -> None:
        if model not in self._resync_wanted:
            self._resync_wanted[model] = asyncio.Event()
            self._tasks.start(f"docker {model}", self._resync_when_wanted(model))

    def resync_soon(self, model: str) -> None:
        """Inspect the model's container again, in the background."""
        if (wanted := self._resync_wanted.get(model)) is not None:
            wanted.set()

    @asynccontextmanager
    async def launching(self, model: ModelSpec) -> AsyncGenerator[None, None]:
        """Keep the start of a model's container from being reported as a start by others."""
        self.track(model)
        self._launching.add(model.name)
        try:
            async with self._lock(model.name):
                yield
        finally:
            self._launching.discard(model.name)
            self.resync_soon(model.name)

    def register(
        self, handle: Handle, found: Mapping[str, Any], earlier: Mapping[str, Any] | None = None
    ) -> ContainerRun:
        """Make this the model's current run. ``earlier``: see ``inspection.log_since``."""
        previous = self.runs.get(handle.model)
        died_at = None if previous is None else previous.evidence.died_at
        since = inspection.log_since(found, earlier, died_at) or "0"
        run = ContainerRun(handle, since, limited=inspection.has_memory_limit(found))
        for event in self._recent_events:  # it may have ended, or been signalled, before it was registered
            if event.container == run.container:
                run.on_event(event.action, event.at_ns / 1e9, event.attributes)
        self.runs[handle.model] = run
        self._follow_log(run)
        return run

    def _follow_log(self, run: ContainerRun) -> None:
        run.log_ended = asyncio.Event()
        self._tasks.start(f"docker log {run.handle.model}", run.follow_log(self.engine))

    def run_of(self, handle: Handle) -> ContainerRun:
        """Return the run of this handle; an unknown one is inspected in the background."""
        run = self.runs.get(handle.model)
        if run is not None and run.handle.ident == handle.ident:
            return run
        if (ended := self._ended.get(handle.ident)) is not None:
            return ended
        unknown = ContainerRun(handle, f"{inspection.started_s(handle.ident):.9f}")
        if run is None or run.over.is_set():
            self.runs[handle.model] = unknown
            self._follow_log(unknown)
            self._start_resyncing(handle.model)
            self.resync_soon(handle.model)
        else:  # another start has followed
            unknown.exit = inspection.exit_of(
                handle.ident, None, EventEvidence(), stop_requested=False, lines=()
            )
            unknown.over.set()
        return unknown

    async def resync(self, model: str) -> FoundRun | None:
        """Read the container's state: finish a run that has ended, return one that was not known.

        Raises ``DockerUnavailable`` and ``DockerError``.
        """
        if model in self._launching:
            return None  # launching() asks for another resync when it is done
        async with self._lock(model):
            engine = self.usable()
            run = self.runs.get(model)
            if run is not None and not run.over.is_set():
                found = None if run.end_is_known() else await engine.inspect(run.container)
                if run.is_running_in(found):
                    run.evidence.events_missed = False
                    if run.log_ended.is_set():  # the log was cut with the connection
                        self._follow_log(run)
                    return None
                await self._end(run, found)
            return await self._find_new_run(model)

    async def _find_new_run(self, name: str) -> FoundRun | None:
        model = self.models.get(name)
        found = await self.engine.inspect(docker_spec(model).container) if model else None
        external = name in self._inspected
        self._inspected.add(name)
        if model is None or found is None or not inspection.is_running(found):
            return None
        try:
            handle = await self.handle(model, 0, found)
        except LaunchError as error:
            # It takes memory all the same, so it must be reported.
            log.warning("a running container cannot be reached", model=name, why=error.reason.summary)
            handle = Handle(name, 0, inspection.ident(found), docker_spec(model).container, 0)
        self.register(handle, found)
        return FoundRun(handle, fingerprint="", external=external)

    async def _end(self, run: ContainerRun, found: Mapping[str, Any] | None) -> None:
        await run.end(self.engine, found)
        self._ended[run.handle.ident] = run
        if len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]

    async def handle(self, model: ModelSpec, number: int, found: Mapping[str, Any]) -> Handle:
        """Return the handle of a running container. Raises ``LaunchError`` where it cannot be reached."""
        spec = docker_spec(model)
        try:
            address = addresses.find(found, spec, await self._network_view())
        except ValueError as error:
            raise LaunchError(Reason(summary=f"model {model.name}: {error}", permanent=True)) from error
        if address is None and not inspection.is_running(found):  # it has ended by now: its end will say why
            return Handle(model.name, number, inspection.ident(found), spec.container, 0)
        if address is None:
            raise LaunchError(
                Reason(
                    summary=f"container {spec.container} cannot be reached from hotseat",
                    hint="attach both to one network, publish its port, or set url",
                    permanent=True,
                )
            )
        ident = inspection.ident(found)
        return Handle(model.name, number, ident, address.host, address.port, address.base_path)

    async def _network_view(self) -> addresses.NetworkView:
        own = addresses.own_container()
        found = await self.engine.inspect(own) if own else None
        networks = addresses.networks_of(found) if found is not None else None
        return addresses.NetworkView(networks, self.engine.remote_host)

    def _lock(self, model: str) -> asyncio.Lock:
        return self._locks.setdefault(model, asyncio.Lock())

    async def _resync_when_wanted(self, model: str) -> None:
        wanted = self._resync_wanted[model]
        while True:
            await wanted.wait()
            wanted.clear()
            try:
                if (found := await self.resync(model)) is not None:
                    self.found_runs.put_nowait(found)
            except (DockerUnavailable, DockerError):
                with suppress(TimeoutError):
                    async with asyncio.timeout(_RESYNC_RETRY_S):
                        await wanted.wait()
                wanted.set()

    # the connection

    async def _stream_events(self) -> None:
        """Follow the event stream, reconnect when it is cut, and resync all models after each connection."""
        tries, seen = 0, time.time()
        while True:
            try:
                await self.engine.negotiate()
                since = seen - _REPLAY_S
                # Past events first: they hold the reasons for the state that the resync finds.
                for event in await self.engine.past_events(since):
                    self._on_event(event)
                self._connected()
                async with aclosing(self.engine.events(since)) as events:
                    async for event in events:
                        tries = 0
                        self._on_event(event)
                seen = time.time()
            except DockerUnavailable as error:
                self._disconnected(str(error))
            except DockerError as error:
                self._disconnected(
                    f"the Docker Engine at {self.engine.url} refuses: {error}. A socket proxy must allow "
                    "versions, events, and containers to be inspected, started and stopped"
                )
            for run in self.runs.values():
                run.evidence.events_missed = True
            await asyncio.sleep(_RECONNECT_S[min(tries, len(_RECONNECT_S) - 1)])
            tries += 1

    def _connected(self) -> None:
        if self.unusable_reason is not None:
            log.info("Docker Engine connected", url=self.engine.url, api=self.engine.api_version)
        self.unusable_reason = None
        self._tried.set()
        for wanted in self._resync_wanted.values():
            wanted.set()

    def _disconnected(self, why: str) -> None:
        if self.unusable_reason != why:
            log.warning("Docker Engine unusable", why=why)
        self.unusable_reason = why
        self._tried.set()

    def _on_event(self, message: Mapping[str, Any]) -> None:
        actor = message["Actor"]
        attributes = actor.get("Attributes") or {}
        event = ContainerEvent(int(message["timeNano"]), str(message["Action"]), str(actor["ID"]), attributes)
        if event in self._recent_events:
            return  # replayed after a reconnect; comparing times alone would fail when the clock is set back
        self._recent_events.append(event)
        names = {attributes.get("name"), str(attributes.get("oldName", "")).removeprefix("/")}
        affected = {name for name, model in self.models.items() if docker_spec(model).container in names}
        for name, run in self.runs.items():
            if run.container == event.container and not run.over.is_set():
                affected.add(name)
                if (report := run.on_event(event.action, event.at_ns / 1e9, attributes)) is not None:
                    self.health_reports.put_nowait(report)
        if event.action in _STATE_CHANGES:
            for name in affected:
                self.resync_soon(name)

    def _task_failed(self, name: str, error: BaseException) -> None:
        log.error("task failed", task=name, exc_info=error)
