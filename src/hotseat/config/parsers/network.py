"""Listen addresses, networks, web origins and URLs."""

# ruff: noqa: TRY004 - a value of the wrong kind is bad input here, not a bug: always ValueError

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from hotseat.config.parsers.booleans import flag
from hotseat.config_fields import MAX_PORT, names
from hotseat.core.spec import ListenSpec

ADDRESS = "an address such as 127.0.0.1:8000, :8000 (all interfaces) or unix:/run/hotseat.sock"
UNIX = "unix"
"""What ``trusted_proxies`` calls clients that come through a Unix socket."""
_UNIX_BYTES = 107
"""The longest path of a Unix socket, in bytes (unix(7))."""


def listen(value: object) -> tuple[ListenSpec, ...]:
    """Parse the addresses to listen on: one, several in one text, or a list."""
    if isinstance(value, str):
        value = re.split(r"[\s,]+(?!mode=)", value.strip(" ,"))
    written = value if isinstance(value, list) else [value]
    if not written:
        raise ValueError(f"expected {ADDRESS}, or a list of these")
    found = tuple(listen_address(one) for one in written)
    places = [(one.host, one.port, one.path) for one in found if one.path or one.port]
    if len(set(places)) != len(places):
        raise ValueError("the same address appears twice")
    return found


def listen_address(value: object) -> ListenSpec:
    """Parse one address to listen on."""
    if isinstance(value, str) and value.strip().startswith("unix:"):
        return _unix(value.strip())
    return ListenSpec(*address(value))


def _unix(text: str) -> ListenSpec:
    path, comma, mode = text.removeprefix("unix:").partition(",mode=")
    path = re.sub(r"^//(?=/)", "", path)
    if not path.startswith("/") or not path.isprintable() or path.endswith("/"):
        raise ValueError("expected the full path of a Unix socket: unix:/run/hotseat.sock")
    if len(os.fsencode(path)) > _UNIX_BYTES:
        raise ValueError(f"the path of a Unix socket can have {_UNIX_BYTES} bytes at most")
    if not comma:
        return ListenSpec(path=path)
    if not re.fullmatch(r"0?[0-7]{3}", mode):
        raise ValueError("expected the socket's mode as three octal digits: unix:/run/hotseat.sock,mode=660")
    return ListenSpec(path=path, mode=int(mode, 8))


ORIGIN = (
    "an origin as browsers send it, such as https://example.org or chrome-extension://ID, or a pattern such "
    "as https://*.example.org: lower case, a port only if it is not the default one, no path"
)
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?P<host>\[[0-9a-f:.]+\]|\*|(?:\*\.)?[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*)"
    r"(?::(?P<port>[0-9]{1,5}|\*))?"
)
_WEB_SCHEMES = ("http", "https")


def address(value: object) -> tuple[str, int]:
    """Parse a host and a port to listen on; port 0 means any free one, no host all interfaces."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"127.0.0.1:{value}"
    if not isinstance(value, str):
        raise ValueError(f"expected {ADDRESS}")
    text = value.strip()
    if text.isascii() and text.isdigit():
        text = f"127.0.0.1:{text}"
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > MAX_PORT:
        raise ValueError(f"expected {ADDRESS}, with a port between 0 and {MAX_PORT}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("expected an IPv6 address between the brackets") from None
    elif ":" in host:
        raise ValueError("put an IPv6 address in brackets: [::1]:8000")
    elif host == "*":
        host = ""
    elif not re.fullmatch(r"[A-Za-z0-9._-]*", host):
        raise ValueError(f"expected {ADDRESS}")
    return host.lower() if host.lower() == "localhost" else host, int(port)


def is_local(address: ListenSpec) -> bool:
    """Whether an address can be reached from this machine only."""
    return address.path is not None or is_loopback(address.host)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def networks(value: object) -> tuple[str, ...]:
    """Parse one IP address or network, or a list of them."""
    found = names(value)
    for network in found:
        if network == UNIX:
            continue
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError(
                "expected IP addresses or networks such as 127.0.0.1 or 172.16.0.0/12 (without host bits), "
                "or unix for the clients of a Unix socket"
            ) from None
    return found


def origins(value: object) -> tuple[str, ...]:
    """Parse web origins as browsers send them (``https://example.org``, ``chrome-extension://…``), or
    patterns of them (``https://*.example.org``, ``http://localhost:*``, ``vscode-webview://*``); ``*`` alone
    means all.
    """
    found = names(value)
    if found == ("*",):
        return found
    for origin in found:
        parts = _ORIGIN.fullmatch(origin)
        if parts is None or (parts["scheme"] in _WEB_SCHEMES and origin != origin.lower()):
            raise ValueError(f"expected {ORIGIN}")
        port = parts["port"]
        if port not in (None, "*") and not 0 < int(port) <= MAX_PORT:
            raise ValueError(f"expected {ORIGIN}")
    return found


def page_origins(value: object) -> tuple[str, ...]:
    """Parse web origins that are all named, or patterns below one domain; ``*`` is refused."""
    found = origins(value)
    if any(origin.partition("://")[2].partition(":")[0] in ("", "*") for origin in found):
        raise ValueError("list the origins one by one; * is not allowed here")
    return found


def tracing(value: object) -> bool | str:
    """Parse true, false, or the URL of an OpenTelemetry collector."""
    if isinstance(value, str) and "://" in value:
        try:
            url = urlsplit(value)
            valid = url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port)
        except ValueError:
            valid = False
        if not valid or url.query or url.fragment:
            raise ValueError("expected the URL of a collector, such as http://127.0.0.1:4318")
        if url.username is not None or url.password is not None:
            raise ValueError("must not contain credentials; put them into OTEL_EXPORTER_OTLP_HEADERS")
        return value
    try:
        return flag(value)
    except ValueError:
        raise ValueError("expected true, false or a URL such as http://127.0.0.1:4318") from None
