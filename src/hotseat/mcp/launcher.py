"""The launcher as the tools see it: its HTTP API, with the rights of whoever asks."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

MAX_RESPONSE = 16 * 1024 * 1024
"""Bytes of a response that are read."""
REQUEST_S = 60.0


class LauncherError(Exception):
    """The launcher refused a request, or did not answer; the message is for the agent."""

    def __init__(self, message: str, status: int = 0, body: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = body or {}


class LauncherApi(Protocol):
    """Protocol for requests to one launcher."""

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout_s: float = REQUEST_S
    ) -> dict[str, Any]:
        """Send a request and return the JSON object of its response. Raises ``LauncherError``."""


@dataclass(frozen=True, slots=True)
class OwnListener:
    """A launcher of this process, over its own port, with the credentials of the request that came in."""

    host: str
    port: int
    tls: bool
    headers: Mapping[str, str]

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout_s: float = REQUEST_S
    ) -> dict[str, Any]:
        """Send a request and return the JSON object of its response. Raises ``LauncherError``."""
        return await asyncio.to_thread(self._call, method, path, body, timeout_s)

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float
    ) -> dict[str, Any]:
        connection: http.client.HTTPConnection
        if self.tls:  # the certificate names the machine as others call it; this never leaves the machine
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=timeout_s, context=context)
        else:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        content = None if method == "GET" else json.dumps(body or {})
        try:
            connection.request(method, path, content, {**self.headers, "Content-Type": "application/json"})
            response = connection.getresponse()
            return read_reply(response.status, response.read(MAX_RESPONSE))
        except (OSError, http.client.HTTPException) as error:
            raise LauncherError(f"hotseat does not answer: {error}") from None
        finally:
            connection.close()


def read_reply(status: int, content: bytes) -> dict[str, Any]:
    """The JSON object of a good response. Raises ``LauncherError`` for any other."""
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {"value": body}
    if status >= 400:
        told = body.get("error")
        message = told.get("message") if isinstance(told, dict) else None
        raise LauncherError(str(message or f"hotseat answered with status {status}"), status, body)
    return body
