"""The running launcher, as the commands ask it: over HTTP, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import click

from hotseat.commands import _credentials
from hotseat.commands._errors import CommandFailed, InvalidConfig, LauncherUnreachable
from hotseat.config.client_settings import read_listen_address
from hotseat.config.problems import ConfigError

KEY_VARIABLES = ("HOTSEAT_ADMIN_KEY", "ADMIN_API_KEY", "VLLM_API_KEY")
"""The first of these that is set is sent as the key."""
CLIENT_KEY_VARIABLES = ("HOTSEAT_API_KEY", "VLLM_API_KEY")
"""The same for requests to models, which an admin's key need not open."""

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
_MAX_ANSWER = 64 * 1024 * 1024
_MAX_LINE = 64 * 1024
_SECOND_FACTORS = {"missing_api_secret": _credentials.SECRET, "missing_basic_auth": _credentials.BASIC}
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}

_HEADERS_FILE = "hotseat.headers_file"
_PEM_BEGIN, _PEM_END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherReply:
    """An answer to a client's request, whatever its status."""

    status: int
    code: str | None
    """Of an error, for machines: ``model_backoff``."""
    message: str | None
    """Of an error, for people."""
    retry_after_s: float | None
    body: Mapping[str, Any]
    """Empty where it is no JSON object."""


class LauncherRefused(CommandFailed):
    """A client's request was answered with an error."""

    def __init__(self, reply: LauncherReply, what: str) -> None:
        super().__init__(f"{what}: {reply.message}" if reply.message else what)
        self.reply = reply


class LauncherClient:
    """One launcher, at a URL."""

    def __init__(
        self,
        url: str,
        env: Mapping[str, str],
        key_variables: tuple[str, ...] = KEY_VARIABLES,
        *,
        headers_file: str | None = None,
        cert: str | None = None,
    ) -> None:
        """``cert``: the certificate that it must show, a PEM file; else any that this machine trusts will do.

        Raises ``click.BadParameter`` for a text that is no URL, ``CommandFailed`` for a key that is none.
        """
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("http", "https") or parts.username or parts.query:
            raise click.BadParameter("expected a URL such as http://127.0.0.1:8000", param_hint="--url")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._https, self._host, self._port = parts.scheme == "https", host, port
        self._base = parts.path.rstrip("/")
        self._key_variables = key_variables
        key = next((env[name] for name in key_variables if env.get(name)), None)
        self._proofs = _credentials.fields(key, env, headers_file)
        self._cert = None if cert is None else _certificate(cert)

    def get(self, path: str, *, also: int | None = None) -> dict[str, Any]:
        """A JSON object; ``also`` is a status that is an answer too.

        Raises ``LauncherUnreachable`` or ``CommandFailed``.
        """
        return self._ask("GET", path, None, ANSWER_TIMEOUT_S, also)

    def post(self, path: str, body: Mapping[str, Any], timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """A JSON object for a JSON object. Raises ``LauncherUnreachable`` or ``CommandFailed``."""
        return self._ask("POST", path, json.dumps(body), timeout_s)

    def ask(self, path: str, timeout_s: float) -> LauncherReply:
        """A client's GET.

        Raises ``TimeoutError`` when it takes longer, ``LauncherUnreachable`` or ``CommandFailed``.
        """
        deadline = time.monotonic() + timeout_s
        connection = self._connect(min(timeout_s, CONNECT_TIMEOUT_S))
        try:
            assert connection.sock is not None
            connection.sock.settimeout(max(0.001, deadline - time.monotonic()))
            connection.request("GET", self._base + path, headers=self._headers())
            response = connection.getresponse()
            return _reply(response, response.read(_MAX_ANSWER))
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise CommandFailed(f"{self.url} broke off: {_words(error)}") from None
        finally:
            connection.close()

    def follow(self, path: str) -> Iterator[str]:
        """The lines of an answer that goes on until the launcher ends it. Raises ``LauncherUnreachable`` or
        ``CommandFailed``."""
        connection = self._connect(CONNECT_TIMEOUT_S)
        try:
            assert connection.sock is not None
            connection.sock.settimeout(ANSWER_TIMEOUT_S)
            connection.request("GET", self._base + path, headers=self._headers())
            socket = connection.sock
            response = connection.getresponse()
            if response.status != 200:
                self._read(response.status, response.read(_MAX_ANSWER))
                raise CommandFailed(f"{self.url} answered with status {response.status}")
            socket.settimeout(None)  # nobody knows when the next line comes
            while line := response.readline(_MAX_LINE):
                yield line.decode("utf-8", "replace").rstrip("\n")
        except TimeoutError:
            raise CommandFailed(f"{self.url} did not answer within {ANSWER_TIMEOUT_S:g} seconds") from None
        except (OSError, http.client.HTTPException) as error:
            raise CommandFailed(f"{self.url} broke off: {_words(error)}") from None
        finally:
            connection.close()

    def stream(self, path: str, body: Mapping[str, Any], silence_s: float) -> Iterator[str]:
        """The lines of a streamed answer to a client's POST.

        Raises ``LauncherRefused``, ``LauncherUnreachable``, ``CommandFailed``.

        ``silence_s``: so long nothing may come.
        """
        connection = self._connect(CONNECT_TIMEOUT_S)
        try:
            assert connection.sock is not None
            connection.sock.settimeout(silence_s)
            headers = {**self._headers(), "Accept": "text/event-stream", "Content-Type": "application/json"}
            connection.request("POST", self._base + path, json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != 200:
                reply = _reply(response, response.read(_MAX_ANSWER))
                raise LauncherRefused(reply, f"{self.url}{path} answered with status {reply.status}")
            while line := response.readline(_MAX_LINE):
                yield line.decode("utf-8", "replace").rstrip("\r\n")
        except TimeoutError:
            raise CommandFailed(f"{self.url} was silent for {silence_s:g} seconds") from None
        except (OSError, http.client.HTTPException) as error:
            raise CommandFailed(f"{self.url} broke off: {_words(error)}") from None
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        return {"Accept": "application/json", **self._proofs}

    def _ask(
        self, method: str, path: str, body: str | None, timeout_s: float, also: int | None = None
    ) -> dict[str, Any]:
        connection = self._connect(CONNECT_TIMEOUT_S)
        headers = self._headers()
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            assert connection.sock is not None
            connection.sock.settimeout(timeout_s)
            connection.request(method, self._base + path, body, headers)
            response = connection.getresponse()
            status = 200 if response.status == also else response.status
            raw = response.read(_MAX_ANSWER)
            if response.length:
                raise http.client.IncompleteRead(raw, response.length)
            return self._read(status, raw)
        except TimeoutError:
            raise CommandFailed(f"{self.url} did not answer within {timeout_s:g} seconds") from None
        except (OSError, http.client.HTTPException) as error:
            raise CommandFailed(f"{self.url} broke off: {_words(error)}") from None
        finally:
            connection.close()

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._https:
            context = ssl.create_default_context()
            if self._cert is not None:  # it is compared below, whatever name it is for and whoever signed it
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout_s, context=context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            connection.connect()
            if isinstance(connection.sock, ssl.SSLSocket) and self._cert is not None:
                self._check_certificate(connection.sock)
        except ssl.SSLError as error:
            raise CommandFailed(f"{self.url}: {_words(error)}") from None
        except OSError as error:
            raise LauncherUnreachable(
                f"no launcher answers at {self.url} ({_words(error)}).\n"
                "Start one with: hotseat serve -c FILE. If it runs elsewhere: --url or HOTSEAT_URL."
            ) from None
        return connection

    def _check_certificate(self, sock: ssl.SSLSocket) -> None:
        if sock.getpeercert(binary_form=True) != self._cert:
            sock.close()
            raise CommandFailed(
                f"{self.url} shows another certificate than the configuration's: hotseat reload"
            )

    def _read(self, status: int, raw: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(raw)
        except ValueError:
            answer = None
        error = answer.get("error") if isinstance(answer, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        if status in (401, 403) and code in _SECOND_FACTORS:
            raise CommandFailed(
                f"{self.url} wants a second factor: set {_SECOND_FACTORS[code]} in the environment"
            )
        if status in (401, 403):
            kind = "an admin" if self._key_variables is KEY_VARIABLES else "another"
            raise CommandFailed(
                f"{self.url} wants {kind} key: set {self._key_variables[0]} in the environment"
            )
        if not isinstance(answer, dict):
            raise CommandFailed(f"what answers at {self.url} is no hotseat (status {status})")
        if status >= 400:
            message = error.get("message") if isinstance(error, dict) else None
            raise CommandFailed(str(message or f"{self.url} answered with status {status}"))
        return answer


def segment(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def options(command: _Command) -> _Command:
    """The options that say which launcher is meant."""
    url = click.option(
        "--url",
        envvar="HOTSEAT_URL",
        metavar="URL",
        help="The launcher; by default where the configuration says that it listens. [env: HOTSEAT_URL]",
    )
    config = click.option(
        "-c",
        "--config",
        metavar="FILE",
        help="The launcher's configuration, to read its address from. [env: HOTSEAT_CONFIG]",
    )
    headers_file = click.option(
        "--headers-file",
        envvar=_credentials.HEADERS_FILE,
        metavar="FILE",
        expose_value=False,
        callback=_keep_headers_file,
        help=f"Header fields to send, each on a line (a front may want some). A second factor is taken from "
        f"{_credentials.SECRET} (X-API-Secret) or {_credentials.BASIC} (user:password). "
        f"[env: {_credentials.HEADERS_FILE}]",
    )
    return url(config(headers_file(command)))


def _keep_headers_file(context: click.Context, _: click.Parameter, value: str | None) -> None:
    context.meta[_HEADERS_FILE] = value


def connect(
    url: str | None, config: str | None, key_variables: tuple[str, ...] = KEY_VARIABLES
) -> LauncherClient:
    """The launcher that the options name."""
    cert = None
    if url is None:
        try:
            where = read_listen_address(config, os.environ)
        except ConfigError as error:
            raise InvalidConfig(error) from None
        host, cert = _WILDCARDS.get(where.host, where.host), where.cert
        scheme = "http" if cert is None else "https"
        url = f"{scheme}://[{host}]:{where.port}" if ":" in host else f"{scheme}://{host}:{where.port}"
    context = click.get_current_context(silent=True)
    headers_file = None if context is None else context.meta.get(_HEADERS_FILE)
    return LauncherClient(url, os.environ, key_variables, headers_file=headers_file, cert=cert)


def _certificate(file: str) -> bytes:
    """The first certificate of a PEM file. Raises ``CommandFailed``."""
    try:
        text = Path(file).read_text("latin-1")
        begin = text.index(_PEM_BEGIN)
        return ssl.PEM_cert_to_DER_cert(text[begin : text.index(_PEM_END, begin) + len(_PEM_END)])
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise CommandFailed(f"{file} holds no certificate") from None


def _reply(response: http.client.HTTPResponse, raw: bytes) -> LauncherReply:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
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


def _words(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text or type(error).__name__).lower()
