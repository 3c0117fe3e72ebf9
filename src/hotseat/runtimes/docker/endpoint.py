"""Finds the Docker Engine as the ``docker`` command does: ``DOCKER_HOST``, a context, the usual sockets.

In this order: ``DOCKER_HOST`` (with ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH``), the context named by
``DOCKER_CONTEXT`` or chosen with ``docker context use``, ``/var/run/docker.sock``, and where that does not
exist the socket of a rootless Docker, which its setup offers as a context of its own.
"""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

USUAL_SOCKET = "/var/run/docker.sock"
DEFAULT_URL = f"unix://{USUAL_SOCKET}"
_NO_CONTEXT = ("", "default")


class EndpointError(ValueError):
    """A Docker Engine is named that hotseat cannot find or use: the reason, and what to do."""


@dataclass(frozen=True, slots=True)
class DockerEndpoint:
    """The address of a Docker Engine."""

    url: str
    """``unix://PATH``, ``tcp://HOST:PORT`` or ``https://HOST:PORT``."""
    context: str | None = None
    """The context that names it."""
    certificates: Path | None = None
    """Folder with ``ca.pem``, ``cert.pem`` and ``key.pem``; ``None``: no TLS."""
    verify: bool = True

    @property
    def socket(self) -> Path | None:
        """The path of its Unix socket; ``None``: it has none."""
        parts = urlsplit(self.url)
        return Path(parts.path) if parts.scheme == "unix" else None

    def environment(self) -> dict[str, str]:
        """Return the variables with which the ``docker`` command finds it."""
        if self.certificates is None:
            return {"DOCKER_HOST": self.url}
        if self.context is not None:
            return {"DOCKER_CONTEXT": self.context}
        return {
            "DOCKER_HOST": self.url.replace("https://", "tcp://", 1),
            "DOCKER_CERT_PATH": str(self.certificates),
            "DOCKER_TLS_VERIFY": "1" if self.verify else "",
        }

    def tls(self) -> ssl.SSLContext | None:
        """Return the TLS settings; ``None``: no TLS. Raises ``EndpointError``."""
        folder = self.certificates
        if folder is None:
            return None
        try:
            authority = folder / "ca.pem"
            context = ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
            if not self.verify:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if (folder / "cert.pem").exists():
                context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        except OSError as error:  # ssl.SSLError, too
            raise EndpointError(
                f"the certificates in {folder} cannot be used: {error.strerror or error}"
            ) from None
        return context


def find_endpoint(env: Mapping[str, str]) -> DockerEndpoint:
    """Return the Engine that the ``docker`` command would use. Raises ``EndpointError``."""
    config = _config_folder(env)
    if host := env.get("DOCKER_HOST"):
        certificates = None
        if env.get("DOCKER_TLS_VERIFY") or env.get("DOCKER_TLS"):
            certificates = Path(env.get("DOCKER_CERT_PATH") or config)
        return _endpoint(host, "DOCKER_HOST", certificates=certificates)
    said_by = "DOCKER_CONTEXT" if env.get("DOCKER_CONTEXT") else f"{config}/config.json"
    name = env.get("DOCKER_CONTEXT") or _current_context(config)
    if name not in _NO_CONTEXT:
        return _of_context(name, config, said_by)
    rootless = Path(env.get("XDG_RUNTIME_DIR") or "/nonexistent") / "docker.sock"
    if not Path(USUAL_SOCKET).exists() and rootless.is_socket():
        return DockerEndpoint(f"unix://{rootless}")
    return DockerEndpoint(DEFAULT_URL)


def _config_folder(env: Mapping[str, str]) -> Path:
    if given := env.get("DOCKER_CONFIG"):
        return Path(given)
    return Path(env.get("HOME") or "/") / ".docker"


def _current_context(config: Path) -> str:
    """Return the context chosen with ``docker context use``; empty: none, or the file is not readable."""
    try:
        found = json.loads((config / "config.json").read_bytes())
    except (OSError, ValueError):  # docker itself warns and goes on with its defaults
        return ""
    name = found.get("currentContext") if isinstance(found, dict) else None
    return name if isinstance(name, str) else ""


def _of_context(name: str, config: Path, said_by: str) -> DockerEndpoint:
    folder = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    try:
        found = json.loads((config / "contexts" / "meta" / folder / "meta.json").read_bytes())
        docker = found["Endpoints"]["docker"]
        host, skip = str(docker.get("Host") or DEFAULT_URL), bool(docker.get("SkipTLSVerify"))
    except FileNotFoundError:
        raise EndpointError(
            f"the Docker context {name} that {said_by} names does not exist: see docker context ls"
        ) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise EndpointError(
            f"the Docker context {name} that {said_by} names cannot be read: see docker context inspect"
        ) from None
    certificates = config / "contexts" / "tls" / folder / "docker"
    return _endpoint(
        host,
        f"the Docker context {name}",
        context=name,
        certificates=certificates if certificates.is_dir() else None,
        verify=not skip,
    )


def _endpoint(
    host: str,
    said_by: str,
    *,
    context: str | None = None,
    certificates: Path | None = None,
    verify: bool = True,
) -> DockerEndpoint:
    host = host.strip()
    if host.startswith("/"):
        host = f"unix://{host}"
    try:
        parts = urlsplit(host)
        port = parts.port
    except ValueError:
        raise EndpointError(f"{said_by} is not an address: write unix:///PATH or tcp://HOST:PORT") from None
    if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
        return DockerEndpoint(host, context)
    if parts.scheme in ("tcp", "http", "https") and parts.hostname:
        secure = certificates is not None or parts.scheme == "https"
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        url = f"{'https' if secure else 'tcp'}://{name}:{port or (2376 if secure else 2375)}"
        return DockerEndpoint(
            url, context, (certificates or Path("/nonexistent")) if secure else None, verify
        )
    if parts.scheme == "ssh":
        raise EndpointError(
            f"{said_by} has the unsupported scheme ssh: forward the socket with "
            "ssh -L, and set DOCKER_HOST to it"
        )
    raise EndpointError(f"{said_by} cannot be used: write unix:///PATH or tcp://HOST:PORT")
