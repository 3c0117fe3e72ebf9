"""A small synchronous client of the Docker Engine API, for checks; the runtime has one of its own."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

DEFAULT = "unix:///var/run/docker.sock"
_TIMEOUT_S = 10.0


class DockerApiError(Exception):
    """The Engine cannot be asked: the reason, and what to do about it (``fix``)."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.fix = fix


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class DockerApi:
    """The Engine at ``DOCKER_HOST`` (``unix://`` or ``tcp://``)."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.url = env.get("DOCKER_HOST") or DEFAULT

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
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return _UnixConnection(parts.path)
        if parts.scheme in ("tcp", "http") and parts.hostname:
            return http.client.HTTPConnection(parts.hostname, parts.port or 2375, timeout=_TIMEOUT_S)
        raise DockerApiError(
            f"DOCKER_HOST has the unsupported scheme {parts.scheme or 'none'}",
            "use unix:// or tcp://",
        )
