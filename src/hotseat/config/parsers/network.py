"""Listen addresses, networks, web origins and URLs."""

# ruff: noqa: TRY004 - a value of the wrong kind is bad input here, not a bug: always ValueError

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from hotseat.config.parsers.booleans import flag
from hotseat.config_fields import MAX_PORT, names

ADDRESS = "an address such as 127.0.0.1:8000 or :8000 (all interfaces)"


def address(value: object) -> tuple[str, int]:
    """Parse a host and a port to listen on; port 0 means any free one."""
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
    return host or "0.0.0.0", int(port)


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
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError(
                "expected IP addresses or networks such as 127.0.0.1 or 172.16.0.0/12 (without host bits)"
            ) from None
    return found


def origins(value: object) -> tuple[str, ...]:
    """Parse web origins as a browser sends them (``https://example.org``); ``*`` alone means all."""
    found = names(value)
    if found == ("*",):
        return found
    for origin in found:
        try:
            parts = urlsplit(origin)
            valid = bool(parts.hostname) and parts.scheme.isalpha() and (parts.port or 1) > 0
        except ValueError:
            valid = False
        if not valid or origin != f"{parts.scheme}://{parts.netloc}".lower() or "@" in origin:
            raise ValueError(
                "expected an origin as browsers send it, such as https://example.org: lower case, a port "
                "only if it is not the default one, no path"
            )
    return found


def page_origins(value: object) -> tuple[str, ...]:
    """Parse web origins that are all named; ``*`` is refused."""
    found = origins(value)
    if found == ("*",):
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
