"""Models as Docker containers, through the Engine's API.

Containers are the operator's: they are started and stopped here, made by Compose where they do not
exist, and never changed or removed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Any

from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec
from hotseat.runtimes.base import FoundRun, Handle, HealthReport, LaunchError, Mounts, RunExit
from hotseat.runtimes.docker import inspection
from hotseat.runtimes.docker.compose import ComposeProject
from hotseat.runtimes.docker.inspection import DockerError, DockerUnavailable
from hotseat.runtimes.docker.spec import DockerSpec, docker_spec
from hotseat.runtimes.docker.watcher import ContainerWatcher


class DockerRuntime:
    """The runtime ``docker``."""

    name = "docker"

    def __init__(self, url: str | None = None) -> None:
        """``url``: ``unix://…`` or ``tcp://…``; ``None``: ``DOCKER_HOST``, or the usual socket."""
        self._url = url
        self._why = "the docker runtime is not open"
        self._sight: ContainerWatcher | None = None
        self._compose = ComposeProject("")

    async def open(self) -> None:
        """Connect; returns after the first try, whatever came of it."""
        try:
            # Brings an HTTP client of its own: only for those who use Docker.
            from hotseat.runtimes.docker.engine import DockerEngine
        except ImportError:
            self._why = "the docker runtime needs the package aiodocker: pip install 'hotseat[docker]'"
            return
        try:
            engine = DockerEngine(self._url)
        except ValueError as error:
            self._why = f"DOCKER_HOST cannot be used ({error}): write unix:///PATH or tcp://HOST:PORT"
            return
        self._compose = ComposeProject(engine.url)
        self._sight = ContainerWatcher(engine)
        await self._sight.open()

    async def close(self) -> None:
        """Let go of the engine; containers stay as they are."""
        if self._sight is not None:
            await self._sight.close()
            self._sight = None

    def unusable(self) -> str | None:
        """Why the engine cannot be used now."""
        return self._why if self._sight is None else self._sight.why

    async def recover(self, models: dict[str, ModelSpec]) -> list[FoundRun]:
        """The containers of these models that run already.

        While the engine is away: none, and ``watch()`` tells of them when it is back.
        """
        found: list[FoundRun] = []
        if (sight := self._sight) is not None:
            sight.models = {name: model for name, model in models.items() if model.runtime == self.name}
            for model in list(sight.models.values()):
                with suppress(DockerUnavailable, DockerError):
                    if (run := await sight.look(model.name)) is not None:
                        found.append(run)
                sight.keep(model)
                sight.look_soon(model.name)
        return found

    async def start(self, model: ModelSpec, run: int) -> Handle:
        """Start the model's container, made by Compose where it does not exist; let a paused one go on."""
        try:
            sight = self._opened()
            async with sight.launching(model):
                return await self._launch(sight, model, run)
        except (DockerUnavailable, DockerError) as error:
            raise LaunchError(inspection.why_not(error)) from error

    async def _launch(self, sight: ContainerWatcher, model: ModelSpec, number: int) -> Handle:
        engine, spec = sight.usable(), docker_spec(model)
        found = await engine.inspect(spec.container) or await self._make(sight, spec)
        container, ours, earlier = str(found["Id"]), False, None
        try:
            if inspection.is_paused(found):
                await engine.unpause(container)
            elif not inspection.is_running(found):
                ours, earlier = True, found
                await engine.start(container)
            found = await engine.inspect(container) or found
            handle = await sight.handle(model, number, found)
        except BaseException:
            if ours:
                with suppress(DockerUnavailable, DockerError):
                    await engine.stop(container, 0)
            raise
        sight.register(handle, found, earlier)
        return handle

    async def _make(self, sight: ContainerWatcher, spec: DockerSpec) -> Mapping[str, Any]:
        if spec.compose is None:
            raise LaunchError(
                Reason(
                    summary=f"there is no container {spec.container}",
                    hint=f"make it (docker create --name {spec.container} IMAGE …), "
                    "or say under compose which project makes it",
                    permanent=True,
                )
            )
        await self._compose.create(spec.compose, spec.container)
        found = await sight.engine.inspect(spec.container)
        if found is None:
            raise LaunchError(
                Reason(
                    summary=f"{spec.compose.file} makes no container named {spec.container}",
                    hint=f"give the service container_name: {spec.container}",
                    permanent=True,
                )
            )
        return found

    async def stop(self, handle: Handle, grace_s: float) -> None:
        """Stop the container.

        Raises ``DockerUnavailable`` or ``DockerError`` where the engine cannot do it.
        """
        sight = self._opened()
        run = sight.run_of(handle)
        if run.over.is_set():
            return
        engine = sight.usable()
        if run.shows(await engine.inspect(run.container)):
            run.ordered = True
            await engine.stop(run.container, grace_s)
        sight.look_soon(handle.model)
        await run.over.wait()

    async def wait(self, handle: Handle) -> RunExit:
        """The end of this start of the container, however it came."""
        run = self._opened().run_of(handle)
        await run.over.wait()
        assert run.exit is not None
        return run.exit

    async def lines(self, handle: Handle, last: int | None = None) -> AsyncIterator[str]:
        """What this start of the container writes; nothing more once the engine has been away."""
        sight = self._opened()
        run = sight.run_of(handle)
        async with aclosing(sight.engine.follow(run.container, run.log_since, last)) as lines:
            async for line in lines:
                yield line
        await run.over.wait()

    async def tail(self, model: str, count: int) -> list[str]:
        """The last lines of the container's current or latest start; none while the engine is away."""
        with suppress(DockerUnavailable, DockerError):
            sight = self._opened()
            engine = sight.usable()
            if (run := sight.runs.get(model)) is not None:
                return await engine.last_lines(run.container, count, run.log_since)
            spec = sight.models.get(model)
            found = await engine.inspect(docker_spec(spec).container) if spec else None
            if found is not None and (since := inspection.log_since(found)) is not None:
                return await engine.last_lines(str(found["Id"]), count, since)
        return []

    async def watch(self) -> AsyncIterator[FoundRun]:
        """Containers of our models that somebody else starts."""
        while self._sight is not None:
            yield await self._sight.found.get()

    async def signs(self) -> AsyncIterator[HealthReport]:
        """Pauses and failed health checks, and their ends."""
        while self._sight is not None:
            yield await self._sight.signs.get()

    async def command_of(self, model: ModelSpec) -> tuple[str, ...] | None:
        """The command of the model's container: as it exists, or as Compose would make it.

        ``None`` where nobody knows it now (no container and no Compose, the engine away).
        """
        spec = docker_spec(model)
        with suppress(DockerUnavailable, DockerError, LaunchError):
            engine = self._opened().usable()
            if (found := await engine.inspect(spec.container)) is not None:
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
            if (found := await self._opened().usable().inspect(spec.container)) is not None:
                return inspection.mounts(found)
            if spec.compose is not None:
                return inspection.mounts_of_service(await self._compose.service(spec.compose, spec.container))
        return None

    async def image_of(self, model: ModelSpec) -> str | None:
        """The image of the model's container, as ``NAME (sha256:…)``; ``None`` where there is none yet."""
        with suppress(DockerUnavailable, DockerError):
            found = await self._opened().usable().inspect(docker_spec(model).container)
            return inspection.image(found) if found is not None else None
        return None

    async def grace_of(self, model: ModelSpec) -> float | None:
        """The container's own ``stop_grace_period``; ``None`` where it has none or is not known."""
        with suppress(DockerUnavailable, DockerError):
            found = await self._opened().usable().inspect(docker_spec(model).container)
            return inspection.grace_s(found) if found is not None else None
        return None

    def _opened(self) -> ContainerWatcher:
        if self._sight is None:
            raise DockerUnavailable(self._why)
        return self._sight
