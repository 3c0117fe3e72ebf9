"""A small synchronous client of the Docker Engine API, for checks; the runtime has one of its own."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from hotseat.runtimes.docker.endpoint import DockerEndpoint, EndpointError, find_endpoint
from hotseat.unix_http import UnixConnection

_TIMEOUT_S = 10.0


class DockerApiError(Exception):
    """The Engine cannot be asked: the reason, and what to do about it (``fix``)."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.fix = fix


class DockerApi:
    """The Engine that the ``docker`` command would use."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._endpoint: DockerEndpoint | EndpointError
        try:
            self._endpoint = find_endpoint(env)
            self.url = self._endpoint.url
        except EndpointError as error:
            self._endpoint, self.url = error, ""

    def get(self, path: str) -> Any:
        """The answer to ``GET path``; ``None`` for 404. Raises ``DockerApiError``."""
        connection = self._connection()
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        except FileNotFoundError:
            raise DockerApiError(
                f"{self.url} does not exist", "start Docker: sudo systemctl start docker"
            ) from None
        except PermissionError:
            raise DockerApiError(
                f"this user has no permission to open {self.url}",
                "add the user to its group (sudo usermod -aG docker $USER), then log in again",
            ) from None
        except (OSError, http.client.HTTPException) as problem:
            raise DockerApiError(
                f"{self.url} does not answer: {problem}", "start Docker: sudo systemctl start docker"
            ) from None
        finally:
            connection.close()
        if response.status == 404:
            return None
        if response.status == 403:
            raise DockerApiError(
                f"{self.url} forbids {path.partition('?')[0]}",
                "point DOCKER_HOST at the Docker socket instead of its proxy",
            )
        if response.status >= 400:
            raise DockerApiError(
                f"{self.url} answered with status {response.status}", "see Docker's log: journalctl -u docker"
            )
        try:
            return json.loads(body)
        except ValueError:
            raise DockerApiError(
                f"{self.url} is not a Docker Engine", "set DOCKER_HOST to the address of one"
            ) from None

    def container(self, name: str) -> Any:
        """The Engine's description of a container; ``None`` if it does not exist."""
        return self.get(f"/containers/{quote(name, safe='')}/json")

    def image(self, name: str) -> Any:
        """The Engine's description of a local image; ``None`` if it does not exist."""
        return self.get(f"/images/{quote(name, safe='/:@')}/json")

    def _connection(self) -> http.client.HTTPConnection:
        endpoint = self._endpoint
        if isinstance(endpoint, EndpointError):
            raise DockerApiError(str(endpoint), "set DOCKER_HOST to unix:///PATH or tcp://HOST:PORT")
        if endpoint.socket is not None:
            return UnixConnection(str(endpoint.socket), _TIMEOUT_S)
        parts = urlsplit(self.url)
        try:
            tls = endpoint.tls()
        except EndpointError as error:
            raise DockerApiError(str(error), "see docker context inspect") from None
        if tls is not None:
            return http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=_TIMEOUT_S, context=tls
            )
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
