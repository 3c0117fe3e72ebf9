"""Connections to a launcher: its URL, and the certificate that it must show."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import click

from hotseat.commands._errors import CommandFailed, LauncherUnreachable
from hotseat.config.parsers.network import is_loopback
from hotseat.unix_http import UnixConnection

_PEM_BEGIN, _PEM_END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class LauncherAddress:
    """Address of a launcher: scheme, host, port, and the base path behind a front."""

    def __init__(self, url: str, cert: str | None = None) -> None:
        """``url`` may be ``unix:/PATH``.

        ``cert``: PEM file with the one certificate to accept; by default any that this machine trusts.

        Raises ``click.BadParameter`` for an invalid URL, ``CommandFailed`` for an invalid certificate.
        """
        self._cert = None if cert is None else _read_certificate(cert)
        self._socket = url.removeprefix("unix:").removeprefix("//") if url.startswith("unix:") else None
        if self._socket is not None:
            if not self._socket.startswith("/"):
                raise click.BadParameter("expected the full path of a socket: unix:/PATH", param_hint="--url")
            self.base_path, self.url, self._https = "", f"unix:{self._socket}", False
            self._host, self._port = "localhost", None
            return
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("http", "https") or parts.username or parts.query:
            raise click.BadParameter("expected a URL such as http://127.0.0.1:8000", param_hint="--url")
        self.base_path = parts.path.rstrip("/")
        self.url = f"{parts.scheme}://{parts.netloc}{self.base_path}"
        self._https, self._host, self._port = parts.scheme == "https", host, port

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """Open a connection. Raises ``LauncherUnreachable`` and ``CommandFailed``."""
        connection: http.client.HTTPConnection
        if self._socket is not None:
            connection = UnixConnection(self._socket, timeout_s)
        elif self._https:
            context = ssl.create_default_context()
            if self._cert is not None:  # compared below instead, whatever its name and its issuer
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
            raise CommandFailed(f"{self.url}: {explain(error)}") from None
        except OSError as error:
            raise LauncherUnreachable(
                f"no launcher answers at {self.url} ({explain(error)}).\n"
                "Start it with hotseat serve -c FILE. If it runs elsewhere, use --url or set HOTSEAT_URL."
            ) from None
        return connection

    def _check_certificate(self, sock: ssl.SSLSocket) -> None:
        if sock.getpeercert(binary_form=True) != self._cert:
            sock.close()
            raise CommandFailed(
                f"{self.url} shows another certificate than the one in the configuration. If the file was "
                "renewed, send SIGHUP to the launcher to load it."
            )


def is_this_machine(url: str) -> bool:
    """Return whether a URL leads to this machine: a loopback address, or a Unix socket."""
    try:
        host = urlsplit(url if "://" in url else f"http://{url}").hostname
    except ValueError:
        return False
    return url.startswith("unix:") or (host is not None and is_loopback(host))


def explain(error: Exception) -> str:
    """The reason of a failed connection, in a few lower-case words."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text or type(error).__name__).lower()


def _read_certificate(file: str) -> bytes:
    """The first certificate of a PEM file. Raises ``CommandFailed``."""
    try:
        text = Path(file).read_text("latin-1")
        begin = text.index(_PEM_BEGIN)
        return ssl.PEM_cert_to_DER_cert(text[begin : text.index(_PEM_END, begin) + len(_PEM_END)])
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise CommandFailed(f"{file} contains no certificate") from None
