"""Requests to a running launcher: its admin API, and its models as their clients see them."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from hotseat.commands import _credentials
from hotseat.commands._connection import LauncherAddress, explain
from hotseat.commands._errors import CommandFailed

CONNECT_TIMEOUT_S = 5.0
RESPONSE_TIMEOUT_S = 30.0
_MAX_RESPONSE = 64 * 1024 * 1024
_MAX_LINE = 64 * 1024
_SECOND_FACTORS = {
    "missing_api_secret": _credentials.API_SECRET,
    "missing_basic_auth": _credentials.BASIC,
}
_NOT_FOR_WANT_OF_A_KEY = ("not_local", "cross_site_request", "origin_not_allowed", "model_not_allowed")
"""Codes of 403 responses that another key, an admin's, would not change."""

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherReply:
    """A response of whatever status; it may come from a model's server or a front as well as from hotseat."""

    status: int
    code: str | None
    """Of an error, for programs: ``model_backoff``."""
    message: str | None
    """Of an error, for people."""
    retry_after_s: float | None
    body: Mapping[str, Any]
    """Empty when it is not a JSON object."""


class LauncherRefused(CommandFailed):
    """A request to a model was answered with an error."""

    def __init__(self, reply: LauncherReply, what: str) -> None:
        super().__init__(f"{what}: {reply.message}" if reply.message else what)
        self.reply = reply


class LauncherSilent(CommandFailed):
    """The launcher was reached, and did not answer in time."""


class KeyRefused(CommandFailed):
    """The credentials are missing, wrong, or not enough."""

    def __init__(self, message: str, reply: LauncherReply) -> None:
        super().__init__(message)
        self.reply = reply


class LauncherClient:
    """HTTP client of one launcher. A connection for each request: a command makes few."""

    def __init__(
        self,
        address: LauncherAddress,
        env: Mapping[str, str],
        key_variables: tuple[str, ...] = _credentials.ADMIN_KEYS,
        *,
        headers_file: str | None = None,
    ) -> None:
        """Takes the key from the first of ``key_variables`` that is set.

        Raises ``CommandFailed`` for credentials that cannot be sent.
        """
        self._address, self._key_variables = address, key_variables
        self._key_from = next((name for name in key_variables if env.get(name)), None)
        key = env[self._key_from] if self._key_from else None
        self._secrets = {value for value in (key, *map(env.get, _SECOND_FACTORS.values())) if value}
        self._credentials = _credentials.header_fields(key, env, headers_file)

    @property
    def url(self) -> str:
        """The launcher's base URL, without a slash at the end."""
        return self._address.url

    # the admin API

    def get(self, path: str, kind: type[T], *, also: int | None = None) -> T:
        """GET a JSON object; status ``also`` counts as success, besides 200.

        Raises ``LauncherUnreachable`` and ``CommandFailed``.
        """
        return self._request("GET", path, kind, None, RESPONSE_TIMEOUT_S, also)

    def post(
        self, path: str, body: msgspec.Struct, kind: type[T], timeout_s: float = RESPONSE_TIMEOUT_S
    ) -> T:
        """POST a JSON object for another. Raises ``LauncherUnreachable`` and ``CommandFailed``."""
        return self._request("POST", path, kind, msgspec.json.encode(body), timeout_s)

    def exchange(self, method: str, path: str, body: bytes | None, timeout_s: float) -> tuple[int, bytes]:
        """Send a request and return status and body of its response, whatever they are.

        Raises ``LauncherUnreachable`` and ``CommandFailed``.
        """
        headers = self._headers()
        if body is not None:
            headers["Content-Type"] = "application/json"
        with self._connected(CONNECT_TIMEOUT_S, timeout_s) as connection:
            connection.request(method, self._address.base_path + path, body, headers)
            response = connection.getresponse()
            return response.status, response.read(_MAX_RESPONSE)

    def follow(self, path: str) -> Iterator[str]:
        """The lines of a response that continues until the launcher ends it.

        Raises ``LauncherUnreachable`` and ``CommandFailed``.
        """
        with self._connected(CONNECT_TIMEOUT_S, RESPONSE_TIMEOUT_S) as connection:
            connection.request("GET", self._address.base_path + path, headers=self._headers())
            socket = connection.sock
            response = connection.getresponse()
            if response.status != 200:
                raise self._error(response, response.read(_MAX_RESPONSE))
            socket.settimeout(None)  # the next line may come at any time
            while line := response.readline(_MAX_LINE):
                yield line.decode("utf-8", "replace").rstrip("\n")

    # models

    def fetch(self, path: str, timeout_s: float) -> LauncherReply:
        """GET as a client of a model does; an error status is a reply, too.

        Raises ``TimeoutError`` when it takes longer, ``LauncherUnreachable`` and ``CommandFailed``.
        """
        deadline = time.monotonic() + timeout_s
        connection = self._address.connect(min(timeout_s, CONNECT_TIMEOUT_S))
        try:
            assert connection.sock is not None
            connection.sock.settimeout(max(0.001, deadline - time.monotonic()))
            connection.request("GET", self._address.base_path + path, headers=self._headers())
            response = connection.getresponse()
            return _reply(response, response.read(_MAX_RESPONSE))
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from None
        finally:
            connection.close()

    def stream(self, path: str, body: Mapping[str, Any], silence_s: float) -> Iterator[str]:
        """POST as a client of a model does; the lines of the streamed response.

        Raises ``LauncherRefused``, ``LauncherUnreachable``, and ``CommandFailed``, also when nothing comes
        for ``silence_s``.
        """
        with self._connected(CONNECT_TIMEOUT_S, silence_s) as connection:
            headers = {**self._headers(), "Accept": "text/event-stream", "Content-Type": "application/json"}
            connection.request("POST", self._address.base_path + path, json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != 200:
                reply = _reply(response, response.read(_MAX_RESPONSE))
                raise LauncherRefused(reply, f"{self.url}{path} answered with status {reply.status}")
            while line := response.readline(_MAX_LINE):
                yield line.decode("utf-8", "replace").rstrip("\r\n")

    # inside

    def _request(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: bytes | None,
        timeout_s: float,
        also: int | None = None,
    ) -> T:
        headers = self._headers()
        if body is not None:
            headers["Content-Type"] = "application/json"
        with self._connected(CONNECT_TIMEOUT_S, timeout_s) as connection:
            connection.request(method, self._address.base_path + path, body, headers)
            response = connection.getresponse()
            raw = response.read(_MAX_RESPONSE)
            if response.length:
                raise http.client.IncompleteRead(raw, response.length)
        if response.status not in (200, also):
            raise self._error(response, raw)
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CommandFailed(
                f"the response of {self.url}{path} is not a hotseat launcher's ({error}). Check the address, "
                "and that command and launcher are of the same version."
            ) from None

    def _headers(self) -> dict[str, str]:
        return {"Accept": "application/json", **self._credentials}

    @contextmanager
    def _connected(self, connect_s: float, silence_s: float) -> Iterator[http.client.HTTPConnection]:
        """A connection that is closed at the end, and its errors as ``CommandFailed``."""
        connection = self._address.connect(connect_s)
        try:
            assert connection.sock is not None
            connection.sock.settimeout(silence_s)
            yield connection
        except TimeoutError:
            raise LauncherSilent(f"{self.url} sent nothing for {silence_s:g} seconds") from None
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from None
        finally:
            connection.close()

    def _broken(self, error: Exception) -> CommandFailed:
        return CommandFailed(f"{self.url} closed the connection early ({explain(error)})")

    def _error(self, response: http.client.HTTPResponse, raw: bytes) -> CommandFailed:
        """The error that a response of another status than 200 tells."""
        reply = _reply(response, raw)
        if reply.status in (401, 403):
            return KeyRefused(self._refusal(reply), reply)
        return CommandFailed(reply.message or f"{self.url} answered with status {reply.status}")

    def _refusal(self, reply: LauncherReply) -> str:
        """Return what was wrong with the credentials, in the launcher's words, and which variable to set."""
        says = reply.message or f"status {reply.status}"
        for secret in self._secrets:
            says = says.replace(secret, "***")
        if reply.code in _SECOND_FACTORS:
            variable = _SECOND_FACTORS[reply.code]
            return f"{self.url} requires a second factor: set {variable} in the environment\n{says}"
        kind = "an admin" if self._key_variables is _credentials.ADMIN_KEYS else "a"
        wanted = f"set {self._key_variables[0]} in the environment, or in the .env beside the configuration"
        if self._key_from is None:
            return f"{self.url} requires {kind} key: {wanted}\n{says}"
        if reply.status == 403 and reply.code not in _NOT_FOR_WANT_OF_A_KEY:
            return f"{self.url} requires an admin key: {wanted}\n{says} (it comes from {self._key_from})"
        return f"{self.url} refuses the key in {self._key_from}: {says}"


def path_segment(name: str) -> str:
    """A model's name, quoted for a path; slashes and colons stand for themselves there."""
    return quote(name, safe="/:")


def _reply(response: http.client.HTTPResponse, raw: bytes) -> LauncherReply:
    body = _json_object(raw)
    error = body.get("error")
    error = error if isinstance(error, dict) else {}
    after = response.getheader("Retry-After", "")
    return LauncherReply(
        status=response.status,
        code=error.get("code"),
        message=error.get("message"),
        retry_after_s=float(after) if after.isascii() and after.isdigit() else None,
        body=body,
    )


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
