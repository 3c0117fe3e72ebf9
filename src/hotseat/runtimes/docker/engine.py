"""A client of the Docker Engine's API, over ``aiodocker``; errors become messages for people.

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

from hotseat.runtimes.docker.endpoint import DockerEndpoint, find_endpoint
from hotseat.runtimes.docker.inspection import DockerError, DockerUnavailable

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
    """One Docker Engine. Every method may raise ``DockerUnavailable``; some raise ``DockerError``."""

    def __init__(self, url: str | None = None) -> None:
        """``url``: ``unix://…`` or ``tcp://…``; ``None``: as the ``docker`` command finds it.

        Raises ``ValueError`` for an address that cannot be used.
        """
        self.endpoint = DockerEndpoint(url) if url else find_endpoint(os.environ)
        self.url = self.endpoint.url
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S, sock_connect=_CONNECT_S)
        self._docker = aiodocker.Docker(self.url, timeout=timeout, ssl_context=self.endpoint.tls())
        self.api_version: str | None = None

    @property
    def remote_host(self) -> str | None:
        """The host of an engine on another machine, which publishes the ports; ``None``: this machine."""
        parts = urlsplit(self.url)
        here = parts.scheme == "unix" or parts.hostname in ("127.0.0.1", "::1", "localhost")
        return None if here else parts.hostname

    async def close(self) -> None:
        """Close the connections."""
        await self._docker.close()

    async def negotiate(self) -> None:
        """Ask the engine for its API version; at each connection, since it may have been upgraded."""
        self._docker.api_version = "auto"
        async with _translated_errors(self.url), asyncio.timeout(_CONNECT_S):
            self.api_version = str((await self._docker.version())["ApiVersion"])

    async def inspect(self, container: str) -> Mapping[str, Any] | None:
        """Return the container of this name or id; ``None``: there is none. Raises ``DockerError``."""
        try:
            async with _translated_errors(self.url):
                found: Mapping[str, Any] = await self._docker.containers.container(container).show()
                return found
        except DockerError as error:
            if error.status == 404:
                return None
            raise

    async def image_entrypoint(self, image: str) -> tuple[str, ...]:
        """Return the entrypoint of a local image; empty where it has none or there is no such image."""
        try:
            async with _translated_errors(self.url):
                config = (await self._docker.images.inspect(image)).get("Config") or {}
        except DockerError:
            return ()
        return tuple(config.get("Entrypoint") or ())

    async def start(self, container: str) -> None:
        """Start a container; succeeds if it is running. Raises ``DockerError``."""
        async with _translated_errors(self.url):
            await self._docker.containers.container(container).start()

    async def unpause(self, container: str) -> None:
        """Resume a paused container. Raises ``DockerError``."""
        async with _translated_errors(self.url):
            await self._docker.containers.container(container).unpause()

    async def stop(self, container: str, grace_s: float) -> None:
        """Send the stop signal, and SIGKILL after ``grace_s``; return when it has ended or does not exist.

        Raises ``DockerError``.
        """
        async with _ignoring_missing(), _translated_errors(self.url):
            await self._docker.containers.container(container).stop(t=math.ceil(grace_s))

    async def last_lines(self, container: str, count: int, since: str) -> list[str]:
        """Return the last lines since ``since`` (Unix time, as text); none without such a container."""
        try:
            async with _translated_errors(self.url):
                pieces = await self._docker.containers.container(container).log(
                    stdout=True, stderr=True, follow=False, tail=count, since=since
                )
        except DockerError:
            return []
        return "".join(pieces).splitlines()[-count:]

    async def follow(self, container: str, since: str, tail: int | None = None) -> AsyncGenerator[str, None]:
        """Yield lines from ``since`` (Unix time, as text) to the container's end.

        ``tail``: begin with this many of the lines written so far (``None``: all). Ends early when the engine
        disconnects.
        """
        rest = ""
        try:
            async with _translated_errors(self.url):
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
        """Return the container events from ``since`` (Unix time) to now, as far as the engine kept them.

        Raises ``DockerError`` where events are forbidden.
        """
        subscriber = self._docker.events.channel.subscribe()
        until = f"{time.time():.9f}"
        # By the clock of an engine on another machine, that moment may lie in the future.
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAST_S), _translated_errors(self.url):
                await self._docker.events.run(since=f"{since:.9f}", until=until, filters=_FILTERS)
        events = []
        while not subscriber.queue.empty():
            if (event := subscriber.queue.get_nowait()) is not None:
                events.append(event)
        return events

    async def events(self, since: float) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield container events from ``since`` (Unix time) on; ends when the engine disconnects.

        Raises ``DockerError`` where events are forbidden.
        """
        subscriber = self._docker.events.channel.subscribe()

        refused: list[DockerError] = []

        async def listen() -> None:
            # However the stream ends, the subscriber receives None.
            try:
                async with _translated_errors(self.url):
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


class _translated_errors:  # noqa: N801 (used as a statement: async with _translated_errors(...))
    """Turns aiodocker's errors into ``DockerError`` and ``DockerUnavailable``."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, aiodocker.DockerError) and error.status != _NO_CONNECTION:
            raise DockerError(error.status, error.message) from error
        if isinstance(error, (aiodocker.DockerError, aiohttp.ClientError, TimeoutError, OSError)):
            raise DockerUnavailable(explain(self._url, error)) from error


class _ignoring_missing:  # noqa: N801
    """Suppresses the error for a container that does not exist."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, DockerError) and error.status == 404


def explain(url: str, error: BaseException) -> str:
    """Return why the engine cannot be reached, and what to do."""
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
        return (
            f"the Docker Engine at {url} does not answer; it may be overloaded or starting: "
            "run docker info to see its state"
        )
    return f"the Docker Engine at {url} is down: start it (systemctl start docker), or set DOCKER_HOST"
