"""The Docker Engine's API as far as we need it, over ``aiodocker``; its errors in words for people.

Imported only where a model uses Docker, since ``aiodocker`` brings an HTTP client of its own.
"""

from __future__ import annotations

import asyncio
import errno
import json
import math
import os
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import aiodocker
import aiohttp

from hotseat.runtimes.docker.inspection import DockerError, DockerUnavailable

DEFAULT_URL = "unix:///var/run/docker.sock"
EVENTS = ("start", "die", "oom", "kill", "pause", "unpause", "destroy", "rename", "health_status")
_FILTERS = json.dumps({"type": ["container"], "event": list(EVENTS)})
_CONNECT_S = 5.0
_PAST_S = 2.0
_ANSWER_S = 60.0
"""Starting a container with a GPU takes the engine seconds; nothing takes it a minute."""
_LINE_LIMIT = 64 * 1024
_NO_CONNECTION = 900
"""aiodocker's status for a connection that failed."""


class DockerEngine:
    """One Docker Engine. Every method raises ``DockerUnavailable``, and ``DockerError`` where it is said."""

    def __init__(self, url: str | None = None) -> None:
        """``url``: ``unix://…`` or ``tcp://…``; ``None``: ``DOCKER_HOST``, or the usual socket."""
        self.url = url or os.environ.get("DOCKER_HOST") or DEFAULT_URL
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S, sock_connect=_CONNECT_S)
        self._docker = aiodocker.Docker(self.url, timeout=timeout)
        self.api_version: str | None = None

    @property
    def remote_host(self) -> str | None:
        """The host of an engine on another machine, where its published ports are; ``None``: this one."""
        parts = urlsplit(self.url)
        here = parts.scheme == "unix" or parts.hostname in ("127.0.0.1", "::1", "localhost")
        return None if here else parts.hostname

    async def close(self) -> None:
        """End the connection."""
        await self._docker.close()

    async def negotiate(self) -> None:
        """Ask the engine which version of the API it speaks (again: it may have been upgraded)."""
        self._docker.api_version = "auto"
        async with _told(self.url), asyncio.timeout(_CONNECT_S):
            self.api_version = str((await self._docker.version())["ApiVersion"])

    async def inspect(self, container: str) -> Mapping[str, Any] | None:
        """The container of this name or id; ``None`` where there is none."""
        try:
            async with _told(self.url):
                found: Mapping[str, Any] = await self._docker.containers.container(container).show()
                return found
        except DockerError as error:
            if error.status == 404:
                return None
            raise

    async def image_entrypoint(self, image: str) -> tuple[str, ...]:
        """The entrypoint of a local image; empty where it has none or is not there."""
        try:
            async with _told(self.url):
                config = (await self._docker.images.inspect(image)).get("Config") or {}
        except DockerError:
            return ()
        return tuple(config.get("Entrypoint") or ())

    async def start(self, container: str) -> None:
        """Start it; one that runs already is success. Raises ``DockerError``."""
        async with _told(self.url):
            await self._docker.containers.container(container).start()

    async def unpause(self, container: str) -> None:
        """Let a paused one go on. Raises ``DockerError``."""
        async with _told(self.url):
            await self._docker.containers.container(container).unpause()

    async def stop(self, container: str, grace_s: float) -> None:
        """Its stop signal, then SIGKILL after the grace; returns when it has ended, or is not there."""
        async with _gone_is_fine(), _told(self.url):
            await self._docker.containers.container(container).stop(t=math.ceil(grace_s))

    async def last_lines(self, container: str, count: int, since: str) -> list[str]:
        """The last lines since ``since`` (seconds of the epoch, as text); none where it is not there."""
        try:
            async with _told(self.url):
                pieces = await self._docker.containers.container(container).log(
                    stdout=True, stderr=True, follow=False, tail=count, since=since
                )
        except DockerError:
            return []
        return "".join(pieces).splitlines()[-count:]

    async def follow(self, container: str, since: str, tail: int | None = None) -> AsyncGenerator[str, None]:
        """Lines from ``since`` on, as they come, to the container's end; of those written by now the last
        ``tail`` (``None``: all). Ends early when the engine goes.
        """
        rest = ""
        try:
            async with _told(self.url):
                async for piece in self._docker.containers.container(container).log(
                    stdout=True, stderr=True, follow=True, since=since, tail="all" if tail is None else tail
                ):
                    *lines, rest = (rest + piece).split("\n")
                    if len(rest) > _LINE_LIMIT:
                        lines, rest = [*lines, rest], ""
                    for line in lines:
                        yield line.removesuffix("\r")
        except (DockerUnavailable, DockerError):
            pass
        if rest:
            yield rest

    async def past_events(self, since: float) -> list[Mapping[str, Any]]:
        """What happened to containers from ``since`` (seconds of the epoch) to now, as far as it knows.

        Raises ``DockerError`` where events are forbidden.
        """
        subscriber = self._docker.events.channel.subscribe()
        until = f"{time.time():.9f}"
        # By the clock of an engine on another machine, that moment may be still to come.
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAST_S), _told(self.url):
                await self._docker.events.run(since=f"{since:.9f}", until=until, filters=_FILTERS)
        events = []
        while not subscriber.queue.empty():
            if (event := subscriber.queue.get_nowait()) is not None:
                events.append(event)
        return events

    async def events(self, since: float) -> AsyncGenerator[Mapping[str, Any], None]:
        """What happens to containers from ``since`` (seconds of the epoch) on; ends when the engine goes.

        Raises ``DockerError`` where they are forbidden.
        """
        subscriber = self._docker.events.channel.subscribe()

        refused: list[DockerError] = []

        async def listen() -> None:
            # Whatever cuts the stream, its end reaches the subscriber as None.
            try:
                async with _told(self.url):
                    await self._docker.events.run(since=f"{since:.9f}", filters=_FILTERS)
            except DockerError as error:
                refused.append(error)
            except (DockerUnavailable, ValueError):
                return

        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen())
            try:
                while (event := await subscriber.queue.get()) is not None:
                    yield event
            finally:
                listening.cancel()
        if refused:
            raise refused[0]


class _told:  # noqa: N801 (used as a statement: async with _told(...))
    """Turns the client's errors into ours."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, aiodocker.DockerError) and error.status != _NO_CONNECTION:
            raise DockerError(error.status, error.message) from error
        if isinstance(error, (aiodocker.DockerError, aiohttp.ClientError, TimeoutError, OSError)):
            raise DockerUnavailable(explain(self._url, error)) from error


class _gone_is_fine:  # noqa: N801
    """What is not there need not be stopped."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, DockerError) and error.status == 404


def explain(url: str, error: BaseException) -> str:
    """Why the engine cannot be asked, and what to do."""
    numbers = set()
    cause: BaseException | None = error
    while cause is not None:
        numbers.add(getattr(cause, "errno", None))
        cause = cause.__cause__ or cause.__context__
    if errno.EACCES in numbers or errno.EPERM in numbers:
        return (
            f"no permission to use the Docker Engine at {url}: add the user that runs hotseat to the group "
            "that owns the socket (usually docker), or point DOCKER_HOST at a socket proxy"
        )
    if errno.ENOENT in numbers:
        return (
            f"there is no Docker Engine at {url}: start it (systemctl start docker), mount its socket, "
            "or set DOCKER_HOST"
        )
    if isinstance(error, TimeoutError):
        return f"the Docker Engine at {url} does not answer: is it overloaded, or starting?"
    return f"the Docker Engine at {url} is down: start it (systemctl start docker), or set DOCKER_HOST"
