"""What is the case with the containers of our models, kept up to date by the engine's events.

Events say that something happened; what is the case is always looked up (``docker inspect``), so that
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
_LOOK_AGAIN_S = 0.5
_REPLAY_S = 10.0
"""Events are asked for from so long before we connect: nothing falls into the gap."""
_ENDED_KEPT = 64
_MOVES = {"start", "die", "destroy", "rename"}
"""Events after which something else may be the case. After the others (a signal sent, say) nothing is yet,
and a look would wait until the engine has tidied up after what they announce, a tenth of a second or more.
"""


@dataclass(frozen=True, slots=True)
class ContainerFact:
    """An event of a container."""

    at_ns: int
    action: str
    container: str
    told: Mapping[str, Any]


class ContainerWatcher:
    """The models' containers, as they are."""

    def __init__(self, engine: DockerEngine) -> None:
        self.engine = engine
        self.why: str | None = f"the Docker Engine at {engine.url} was not asked yet"
        """Why the engine cannot be used now."""
        self.models: dict[str, ModelSpec] = {}
        self.runs: dict[str, ContainerRun] = {}
        """The run of each model; an ended one stays until the next."""
        self._ended: dict[str, ContainerRun] = {}
        """The latest of them, for those who ask after the next has begun."""
        self.found: asyncio.Queue[FoundRun] = asyncio.Queue()
        self.signs: asyncio.Queue[HealthReport] = asyncio.Queue()
        self._tasks = Tasks(self._task_failed)
        self._tried = asyncio.Event()
        self._attention: dict[str, asyncio.Event] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._launching: set[str] = set()
        self._seen: set[str] = set()
        """Models that have been looked at: what runs later was started by somebody else."""
        self._heard: deque[ContainerFact] = deque(maxlen=1000)

    async def open(self) -> None:
        """Connect; returns after the first try, whatever came of it."""
        self._tasks.start("docker events", self._stay_connected())
        await self._tried.wait()

    async def close(self) -> None:
        """Stop looking, and let go of the engine."""
        await self._tasks.close()
        await self.engine.close()

    def usable(self) -> DockerEngine:
        """The engine. Raises ``DockerUnavailable`` where it cannot be used."""
        if self.why is not None:
            raise DockerUnavailable(self.why)
        return self.engine

    def keep(self, model: ModelSpec) -> None:
        """Look after this model's container from now on."""
        self.models[model.name] = model
        self._attend_to(model.name)

    def _attend_to(self, model: str) -> None:
        if model not in self._attention:
            self._attention[model] = asyncio.Event()
            self._tasks.start(f"docker {model}", self._keep_looking(model))

    def look_soon(self, model: str) -> None:
        """Look at the model's container again, in the background."""
        if (wanted := self._attention.get(model)) is not None:
            wanted.set()

    @asynccontextmanager
    async def launching(self, model: ModelSpec) -> AsyncGenerator[None, None]:
        """While the model is started here, its container is not taken for somebody else's start."""
        self.keep(model)
        self._launching.add(model.name)
        try:
            async with self._lock(model.name):
                yield
        finally:
            self._launching.discard(model.name)
            self.look_soon(model.name)

    def register(
        self, handle: Handle, found: Mapping[str, Any], earlier: Mapping[str, Any] | None = None
    ) -> ContainerRun:
        """This is the model's run from now on (``earlier``: see ``docker_facts.log_since``)."""
        since, limited = inspection.log_since(found, earlier) or "0", inspection.has_memory_limit(found)
        run = ContainerRun(handle, since, limited=limited)
        for fact in self._heard:  # it may have ended, or been told to end, before we knew it
            if fact.container == run.container:
                run.hear(fact.action, fact.at_ns / 1e9, fact.told)
        self.runs[handle.model] = run
        self._listen_to(run)
        return run

    def _listen_to(self, run: ContainerRun) -> None:
        run.log_ended = asyncio.Event()
        self._tasks.start(f"docker log {run.handle.model}", run.listen(self.engine))

    def run_of(self, handle: Handle) -> ContainerRun:
        """The run of this handle; one that nobody has told us of is looked at soon."""
        run = self.runs.get(handle.model)
        if run is not None and run.handle.ident == handle.ident:
            return run
        if (ended := self._ended.get(handle.ident)) is not None:
            return ended
        unknown = ContainerRun(handle, f"{inspection.started_s(handle.ident):.9f}")
        if run is None or run.over.is_set():
            self.runs[handle.model] = unknown
            self._listen_to(unknown)
            self._attend_to(handle.model)
            self.look_soon(handle.model)
        else:  # another start has followed
            unknown.exit = inspection.why(handle.ident, None, EventEvidence(), ordered=False, lines=())
            unknown.over.set()
        return unknown

    async def look(self, model: str) -> FoundRun | None:
        """See what is the case: end a run that has ended; return one that was not known.

        Raises ``DockerUnavailable`` and ``DockerError``.
        """
        if model in self._launching:
            return None  # asked for again when that is done
        async with self._lock(model):
            engine = self.usable()
            run = self.runs.get(model)
            if run is not None and not run.over.is_set():
                found = None if run.death_told() else await engine.inspect(run.container)
                if run.shows(found):
                    run.evidence.unseen = False
                    if run.log_ended.is_set():  # with the connection
                        self._listen_to(run)
                    return None
                await self._end(run, found)
            return await self._look_for_new(model)

    async def _look_for_new(self, name: str) -> FoundRun | None:
        model = self.models.get(name)
        found = await self.engine.inspect(docker_spec(model).container) if model else None
        external = name in self._seen
        self._seen.add(name)
        if model is None or found is None or not inspection.is_running(found):
            return None
        try:
            handle = await self.handle(model, 0, found)
        except LaunchError as error:
            # It takes memory all the same, so it must be told of.
            log.warning("a container runs that cannot be reached", model=name, why=error.reason.summary)
            handle = Handle(name, 0, inspection.ident(found), docker_spec(model).container, 0)
        self.register(handle, found)
        return FoundRun(handle, fingerprint="", external=external)

    async def _end(self, run: ContainerRun, found: Mapping[str, Any] | None) -> None:
        await run.end(self.engine, found)
        self._ended[run.handle.ident] = run
        if len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]

    async def handle(self, model: ModelSpec, number: int, found: Mapping[str, Any]) -> Handle:
        """The handle of a running container. Raises ``LaunchError`` where it cannot be reached."""
        spec = docker_spec(model)
        try:
            address = addresses.find(found, spec, await self._vantage())
        except ValueError as error:
            raise LaunchError(Reason(summary=f"model {model.name}: {error}", permanent=True)) from error
        if address is None and not inspection.is_running(found):  # it has ended by now: let it be told why
            return Handle(model.name, number, inspection.ident(found), spec.container, 0)
        if address is None:
            raise LaunchError(
                Reason(
                    summary=f"there is no way from here to container {spec.container}",
                    hint="put both on one network, publish its port, or set url",
                    permanent=True,
                )
            )
        ident = inspection.ident(found)
        return Handle(model.name, number, ident, address.host, address.port, address.base_path)

    async def _vantage(self) -> addresses.NetworkView:
        own = addresses.own_container()
        found = await self.engine.inspect(own) if own else None
        networks = addresses.networks_of(found) if found is not None else None
        return addresses.NetworkView(networks, self.engine.remote_host)

    def _lock(self, model: str) -> asyncio.Lock:
        return self._locks.setdefault(model, asyncio.Lock())

    async def _keep_looking(self, model: str) -> None:
        wanted = self._attention[model]
        while True:
            await wanted.wait()
            wanted.clear()
            try:
                if (found := await self.look(model)) is not None:
                    self.found.put_nowait(found)
            except (DockerUnavailable, DockerError):
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_AGAIN_S):
                        await wanted.wait()
                wanted.set()

    # the connection

    async def _stay_connected(self) -> None:
        """Hear events, and look at everything whenever the connection is new."""
        tries, seen = 0, time.time()
        while True:
            try:
                await self.engine.negotiate()
                since = seen - _REPLAY_S
                # What happened meanwhile comes first: it says why what we are about to see is so.
                for event in await self.engine.past_events(since):
                    self._hear(event)
                self._connected()
                async with aclosing(self.engine.events(since)) as events:
                    async for event in events:
                        tries = 0
                        self._hear(event)
                seen = time.time()
            except DockerUnavailable as error:
                self._lost(str(error))
            except DockerError as error:
                self._lost(
                    f"the Docker Engine at {self.engine.url} refuses: {error}; a socket proxy must allow "
                    "versions, events, and containers to be inspected, started and stopped"
                )
            for run in self.runs.values():
                run.evidence.unseen = True
            await asyncio.sleep(_RECONNECT_S[min(tries, len(_RECONNECT_S) - 1)])
            tries += 1

    def _connected(self) -> None:
        if self.why is not None:
            log.info("Docker Engine connected", url=self.engine.url, api=self.engine.api_version)
        self.why = None
        self._tried.set()
        for wanted in self._attention.values():
            wanted.set()

    def _lost(self, why: str) -> None:
        if self.why != why:
            log.warning("Docker Engine unusable", why=why)
        self.why = why
        self._tried.set()

    def _hear(self, event: Mapping[str, Any]) -> None:
        actor = event["Actor"]
        told = actor.get("Attributes") or {}
        fact = ContainerFact(int(event["timeNano"]), str(event["Action"]), str(actor["ID"]), told)
        if fact in self._heard:
            return  # told again after a reconnect; its time alone tells nothing, clocks are set back
        self._heard.append(fact)
        names = {told.get("name"), str(told.get("oldName", "")).removeprefix("/")}
        moved = {name for name, model in self.models.items() if docker_spec(model).container in names}
        for name, run in self.runs.items():
            if run.container == fact.container and not run.over.is_set():
                moved.add(name)
                if (sign := run.hear(fact.action, fact.at_ns / 1e9, told)) is not None:
                    self.signs.put_nowait(sign)
        if fact.action in _MOVES:
            for name in moved:
                self.look_soon(name)

    def _task_failed(self, name: str, error: BaseException) -> None:
        log.error("task failed", task=name, exc_info=error)
