"""Runs models as Docker containers, through the Engine's API.

Containers belong to the operator: hotseat starts and stops them, and has Compose create those that do not
exist or whose settings have changed. It never changes or removes one itself.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec
from hotseat.installation import install_extra
from hotseat.runtimes.base import FoundRun, Handle, HealthReport, LaunchError, Mounts, RunExit
from hotseat.runtimes.docker import inspection
from hotseat.runtimes.docker.compose import ComposeProject, sources
from hotseat.runtimes.docker.devices import contradiction, given_by_inspection
from hotseat.runtimes.docker.endpoint import EndpointError
from hotseat.runtimes.docker.gates import ContainerGates
from hotseat.runtimes.docker.inspection import DockerError, DockerUnavailable
from hotseat.runtimes.docker.spec import DockerSpec, docker_spec
from hotseat.runtimes.docker.watcher import ContainerWatcher

READY_CHECK_S = 0.1
"""Seconds between two looks whether a container that is prepared stands by."""
log = structlog.get_logger("hotseat")


class DockerRuntime:
    """The runtime ``docker``: models as containers of an Engine."""

    name = "docker"

    def __init__(self, url: str | None = None, gates: Path | None = None) -> None:
        """``url``: ``unix://…`` or ``tcp://…``; ``None``: as the ``docker`` command finds it.

        ``gates``: the folder of the containers' gates; ``None``: all are started plainly.
        """
        self._url = url
        self._gates = ContainerGates(gates)
        self._unusable_reason = "the docker runtime is not open"
        self._watcher: ContainerWatcher | None = None
        self._compose = ComposeProject({})
        self._outdated: dict[str, str] = {}
        """What ``outdated`` found, by model."""

    async def open(self) -> None:
        """Connect; returns after the first attempt, successful or not."""
        try:
            # aiodocker brings an HTTP client of its own: imported only where Docker is used.
            from hotseat.runtimes.docker.engine import DockerEngine
        except ImportError:
            self._unusable_reason = (
                f"the docker runtime needs the package aiodocker: {install_extra('docker')}"
            )
            return
        try:
            engine = DockerEngine(self._url)
        except EndpointError as error:
            self._unusable_reason = str(error)
            return
        except ValueError as error:
            self._unusable_reason = (
                f"DOCKER_HOST cannot be used ({error}): write unix:///PATH or tcp://HOST:PORT"
            )
            return
        self._compose = ComposeProject(engine.endpoint.environment())
        self._watcher = ContainerWatcher(engine)
        await self._watcher.open()

    async def close(self) -> None:
        """Disconnect; containers stay as they are."""
        if self._watcher is not None:
            await self._watcher.close()
            self._watcher = None

    def unusable(self) -> str | None:
        """Return why the engine cannot be used now; ``None``: usable."""
        return self._unusable_reason if self._watcher is None else self._watcher.unusable_reason

    async def recover(self, models: dict[str, ModelSpec]) -> list[FoundRun]:
        """Return the containers of these models that run already.

        None while the engine is unreachable; ``watch()`` yields them when it is back.
        """
        found: list[FoundRun] = []
        if (watcher := self._watcher) is not None:
            watcher.models = {name: model for name, model in models.items() if model.runtime == self.name}
            for model in list(watcher.models.values()):
                with suppress(DockerUnavailable, DockerError):
                    if (run := await watcher.resync(model.name)) is not None:
                        found.append(replace(run, stands_by=self._gates.is_closed(model)))
                watcher.track(model)
                watcher.resync_soon(model.name)
        return found

    async def start(self, model: ModelSpec, run: int) -> Handle:
        """Start the model's container, created by Compose where it does not exist; resume a paused one."""
        return await self._start(model, run, opened=True)

    async def prepare(self, model: ModelSpec, run: int, *, low_priority: bool = False) -> Handle:
        """Start the model's container behind a closed gate. A container's priority is its Compose file's."""
        return await self._start(model, run, opened=False)

    async def prepared(self, handle: Handle) -> int | None:
        """Return when one of the container's processes stands at the gate; its memory is not measured."""
        gate = self._gates.of(self._require_open().models[handle.model])
        while True:
            if gate is not None and gate.read().ready:
                return None
            await asyncio.sleep(READY_CHECK_S)

    async def admit(self, handle: Handle) -> None:
        """Open the container's gate. Raises ``LaunchError``."""
        gate = self._gates.of(self._require_open().models[handle.model])
        try:
            if gate is None:
                raise FileNotFoundError(errno.ENOENT, "there is none")
            gate.open()
        except OSError as error:
            summary = f"its gate could not be opened: {error.strerror}"
            raise LaunchError(Reason(summary=summary)) from error

    def gate_seen(self, handle: Handle) -> bool:
        """Return whether the container has passed its gate, and remember it."""
        model = self._watcher.models.get(handle.model) if self._watcher is not None else None
        gate = self._gates.of(model) if model is not None else None
        if model is None or gate is None or not gate.read().passed:
            return False
        if self._gates.known is not None:
            self._gates.known.remember(model.name, model.scheduling.fingerprint)
        return True

    def known_gates(self) -> Mapping[str, str]:
        """Return, by model, the fingerprint of the latest configuration whose server knew its gate."""
        return self._gates.known.all() if self._gates.known is not None else {}

    async def _start(self, model: ModelSpec, run: int, *, opened: bool) -> Handle:
        try:
            watcher = self._require_open()
            async with watcher.launching(model):
                return await self._launch(watcher, model, run, opened=opened)
        except (DockerUnavailable, DockerError) as error:
            raise LaunchError(inspection.launch_failure(error)) from error

    async def _launch(
        self, watcher: ContainerWatcher, model: ModelSpec, number: int, *, opened: bool
    ) -> Handle:
        engine, spec = watcher.usable(), docker_spec(model)
        found = await engine.inspect(spec.container) or await self._create(watcher, spec)
        if spec.compose is not None and not inspection.is_running(found):
            found = await self._brought_up_to_date(watcher, model.name, spec, found)
        container, started_here, earlier = str(found["Id"]), False, None
        if not opened and inspection.is_running(found):
            raise LaunchError(Reason(summary=f"the container {spec.container} runs already"))
        if not inspection.is_running(found) and spec.devices is not None:
            _check_devices(found, spec, spec.devices)
        try:
            if inspection.is_paused(found):
                await engine.unpause(container)
            elif not inspection.is_running(found):
                self._gates.make(model, found, opened=opened)
                started_here, earlier = True, found
                await engine.start(container)
            found = await engine.inspect(container) or found
            handle = await watcher.handle(model, number, found)
        except BaseException:
            if started_here:
                with suppress(DockerUnavailable, DockerError):
                    await engine.stop(container, 0)
            raise
        watcher.register(handle, found, earlier)
        return handle

    async def _brought_up_to_date(
        self, watcher: ContainerWatcher, name: str, spec: DockerSpec, found: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the stopped container, created anew if its Compose project has changed since."""
        assert spec.compose is not None
        try:
            why = await self._compose.outdated(spec.compose, found)
            if why is None:
                return found
            log.info("creating the container anew", model=name, container=spec.container, why=why)
            await self._compose.recreate(spec.compose, found)
        except LaunchError as error:  # it worked before
            log.warning(
                "starting the container as it is: Compose cannot tell whether it is up to date, or cannot "
                "create it anew",
                model=name,
                container=spec.container,
                why=error.reason.summary,
                hint=error.reason.hint,
            )
            return found
        self._outdated.pop(name, None)
        return await watcher.engine.inspect(spec.container) or found

    async def outdated(self, model: ModelSpec) -> str | None:
        """Return what is to be said of a container made from other settings than its project has now."""
        spec = docker_spec(model)
        why = None
        with suppress(DockerUnavailable, DockerError, LaunchError):
            if spec.compose is not None:
                found = await self._require_open().usable().inspect(spec.container)
                why = None if found is None else await self._compose.outdated(spec.compose, found)
        if why is None:
            self._outdated.pop(model.name, None)
        else:
            self._outdated[model.name] = why
        return why

    def sources_of(self, model: ModelSpec) -> tuple[str, ...]:
        """Return the files that the settings of the model's container come from."""
        compose = docker_spec(model).compose
        return () if compose is None else sources(compose)

    async def _create(self, watcher: ContainerWatcher, spec: DockerSpec) -> Mapping[str, Any]:
        if spec.compose is None:
            raise LaunchError(
                Reason(
                    summary=f"there is no container {spec.container}",
                    hint=f"create it (docker create --name {spec.container} IMAGE …), "
                    "or name the Compose project that creates it under compose",
                    permanent=True,
                )
            )
        await self._compose.create(spec.compose, spec.container)
        found = await watcher.engine.inspect(spec.container)
        if found is None:
            raise LaunchError(
                Reason(
                    summary=f"{spec.compose.file} creates no container named {spec.container}",
                    hint=f"give the service container_name: {spec.container}",
                    permanent=True,
                )
            )
        return found

    async def stop(self, handle: Handle, grace_s: float) -> None:
        """Stop the container.

        Raises ``DockerUnavailable`` or ``DockerError`` where the engine cannot do it.
        """
        watcher = self._require_open()
        run = watcher.run_of(handle)
        if run.over.is_set():
            return
        engine = watcher.usable()
        if run.is_running_in(await engine.inspect(run.container)):
            run.stop_requested = True
            await engine.stop(run.container, grace_s)
        watcher.resync_soon(handle.model)
        await run.over.wait()

    async def wait(self, handle: Handle) -> RunExit:
        """Return when this start of the container has ended."""
        watcher = self._require_open()
        run = watcher.run_of(handle)
        await run.over.wait()
        assert run.exit is not None
        if (model := watcher.models.get(handle.model)) is not None:
            self._gates.clear(model)
        return run.exit

    async def lines(self, handle: Handle, last: int | None = None) -> AsyncIterator[str]:
        """Yield the output of this start of the container; ends early when the engine disconnects."""
        watcher = self._require_open()
        run = watcher.run_of(handle)
        async with aclosing(watcher.engine.follow(run.container, run.log_since, last)) as lines:
            async for line in lines:
                yield line
        await run.over.wait()

    async def tail(self, model: str, count: int) -> list[str]:
        """Return the last lines of the container's current or latest start; none without the engine."""
        with suppress(DockerUnavailable, DockerError):
            watcher = self._require_open()
            engine = watcher.usable()
            if (run := watcher.runs.get(model)) is not None:
                return await engine.last_lines(run.container, count, run.log_since)
            spec = watcher.models.get(model)
            found = await engine.inspect(docker_spec(spec).container) if spec else None
            if found is not None and (since := inspection.log_since(found)) is not None:
                return await engine.last_lines(str(found["Id"]), count, since)
        return []

    async def watch(self) -> AsyncIterator[FoundRun]:
        """Yield containers of the configured models that others start."""
        while self._watcher is not None:
            found = await self._watcher.found_runs.get()
            model = self._watcher.models.get(found.handle.model)
            closed = model is not None and self._gates.is_closed(model)
            yield replace(found, stands_by=closed)

    async def health_reports(self) -> AsyncIterator[HealthReport]:
        """Yield pauses and failed health checks, and their ends."""
        while self._watcher is not None:
            yield await self._watcher.health_reports.get()

    async def command_of(self, model: ModelSpec) -> tuple[str, ...] | None:
        """Return the command of the model's container: as it exists, or as Compose would create it.

        ``None``: unknown at the moment (no container and no Compose, or the engine is unreachable).
        """
        spec = docker_spec(model)
        with suppress(DockerUnavailable, DockerError, LaunchError):
            engine = self._require_open().usable()
            found = await engine.inspect(spec.container)
            # A stopped one that is outdated is created anew before it runs again.
            if found is not None and (inspection.is_running(found) or model.name not in self._outdated):
                return inspection.command(found)
            if spec.compose is not None:
                service = await self._compose.service(spec.compose, spec.container)
                entrypoint = service.get("entrypoint")
                if not entrypoint and "image" not in service:
                    return None  # to be built: nobody knows yet what it will run
                entrypoint = entrypoint or await engine.image_entrypoint(str(service["image"]))
                words = [*entrypoint, *(service.get("command") or ())]
                # Compose doubles each dollar in what it prints, so that it can be read again.
                return tuple(str(word).replace("$$", "$") for word in words)
        return None

    async def mounts_of(self, model: ModelSpec) -> Mounts | None:
        """The mounts and the environment of the model's container: as it exists, or as Compose makes it."""
        spec = docker_spec(model)
        with suppress(DockerUnavailable, DockerError, LaunchError):
            if (found := await self._require_open().usable().inspect(spec.container)) is not None:
                return inspection.mounts(found)
            if spec.compose is not None:
                return inspection.mounts_of_service(await self._compose.service(spec.compose, spec.container))
        return None

    async def image_of(self, model: ModelSpec) -> str | None:
        """Return the image of the model's container, as ``NAME (sha256:…)``; ``None``: no container yet."""
        with suppress(DockerUnavailable, DockerError):
            found = await self._require_open().usable().inspect(docker_spec(model).container)
            return inspection.image(found) if found is not None else None
        return None

    async def grace_of(self, model: ModelSpec) -> float | None:
        """Return the container's ``stop_grace_period`` in seconds; ``None``: not set, or unknown."""
        with suppress(DockerUnavailable, DockerError):
            found = await self._require_open().usable().inspect(docker_spec(model).container)
            return inspection.grace_s(found) if found is not None else None
        return None

    def _require_open(self) -> ContainerWatcher:
        if self._watcher is None:
            raise DockerUnavailable(self._unusable_reason)
        return self._watcher


def _check_devices(found: Mapping[str, Any], spec: DockerSpec, wanted: tuple[str, ...]) -> None:
    """Raise ``LaunchError`` for a container that was created with other devices than the model has."""
    trouble = contradiction(given_by_inspection(found), wanted, every=spec.every_device)
    if trouble is not None:
        raise LaunchError(
            Reason(
                summary=f"container {spec.container} is given {trouble}",
                hint=f"create it anew with these devices (device_ids: [{', '.join(map(repr, wanted))}])",
                permanent=True,
            )
        )
