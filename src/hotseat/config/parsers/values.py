"""The small languages inside values: durations, sizes, shares of a GPU, addresses, commands.

Each function takes what YAML gave (text, ``int``, ``Decimal``, ``bool``, ``list``, ``dict``) and
raises ``ValueError`` with words for a person. The message never repeats the value: it may have come
from the environment, and so be a secret.
"""

# ruff: noqa: TRY004 - a value of the wrong kind is bad input here, not a bug: always ValueError

from __future__ import annotations

import ipaddress
import re
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal
from urllib.parse import urlsplit

from hotseat.config_fields import names, whole
from hotseat.core.spec import PPM, KeepWarmSpan
from hotseat.schedule import parse_span

BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

YEAR_S = 365 * 86400
DURATION = "a duration such as 30m, 90s, 1h30m or a number of seconds"
SIZE = "a size such as 32MiB, 64GiB or a number of bytes"
SHARE = "a share of the whole GPU such as 0.90"
ADDRESS = "an address such as 127.0.0.1:8000 or :8000 (all interfaces)"

_UNITS_S = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)\s*", re.ASCII)
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?|\.\d{1,15}", re.ASCII)
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kmgt]?i?b?)", re.ASCII | re.IGNORECASE)
_PREFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def _number(value: object) -> Decimal | None:
    """The value as a number, where it is one (text of digits counts: it may come from the environment)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | Decimal):
        number = Decimal(value)
        return number if number.is_finite() else None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return Decimal(value.strip())
    return None


def duration(value: object) -> float:
    """Seconds, 0 to one year."""
    seconds = _number(value)
    if seconds is None and isinstance(value, str):
        text = value.strip().lower()
        parts = _PART.findall(text)
        if parts and _PART.sub("", text) == "":
            seconds = sum((Decimal(count) * _UNITS_S[unit] for count, unit in parts), Decimal(0))
    if seconds is None:
        raise ValueError(f"expected {DURATION}")
    if seconds < 0:
        raise ValueError("a duration cannot be negative")
    if seconds > YEAR_S:
        raise ValueError("longer than a year")
    return float(seconds)


def positive_number(value: object) -> float:
    """A number of more than 0."""
    number = _number(value)
    if number is None:
        raise ValueError("expected a number")
    if number <= 0:
        raise ValueError("must be more than 0")
    return float(number)


def positive_duration(value: object) -> float:
    """Seconds, more than 0."""
    seconds = duration(value)
    if not seconds:
        raise ValueError("must be more than 0")
    return seconds


def auto_duration(value: object) -> float | Literal["auto"]:
    """Seconds, or ``auto``."""
    if value == "auto":
        return "auto"
    try:
        return duration(value)
    except ValueError as error:
        if str(error).startswith("expected"):
            raise ValueError(f"expected auto, or {DURATION}") from None
        raise


def size(value: object) -> int:
    """Bytes, at least 1. ``k``, ``m``, ``g`` alone and ``KiB`` count in 1024, ``kB`` in 1000."""
    count = _number(value)
    if count is None and isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        number, unit = match[1], match[2].lower()
        base = 1000 if unit.endswith("b") and "i" not in unit and len(unit) == 2 else 1024
        count = Decimal(number) * base ** _PREFIXES[unit.rstrip("b").rstrip("i")]
    if count is None:
        raise ValueError(f"expected {SIZE}")
    if not 1 <= count <= 2**60:
        raise ValueError("a size is at least one byte, and less than an exbibyte")
    return int(count)


def share(value: object) -> int:
    """A share of one GPU's memory in parts per million, 0 to 1 000 000; exact, ties to even."""
    number = _number(value)
    if number is None:
        raise ValueError(f"expected {SHARE}")
    if number < 0 or number > 1:
        raise ValueError("a share lies between 0 and 1: 0.90 means 90 % of the GPU's memory")
    return int((number * PPM).quantize(Decimal(1), ROUND_HALF_EVEN))


def positive_share(value: object) -> int:
    """A share of more than nothing, in parts per million."""
    parts = share(value)
    if not parts:
        raise ValueError("must be more than 0")
    return parts


def address(value: object) -> tuple[str, int]:
    """Host and port to listen on."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"127.0.0.1:{value}"
    if not isinstance(value, str):
        raise ValueError(f"expected {ADDRESS}")
    text = value.strip()
    if text.isascii() and text.isdigit():
        text = f"127.0.0.1:{text}"
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"expected {ADDRESS}; a port lies between 0 and 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("between the brackets is no IPv6 address") from None
    elif ":" in host:
        raise ValueError("write an IPv6 address in brackets: [::1]:8000")
    elif host == "*":
        host = ""
    elif not re.fullmatch(r"[A-Za-z0-9._-]*", host):
        raise ValueError(f"expected {ADDRESS}")
    return host or "0.0.0.0", int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def flag(value: object) -> bool:
    """True or false (as text too: it may come from the environment)."""
    if isinstance(value, str):
        value = BOOLS.get(value.strip().lower())
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def tracing(value: object) -> bool | str:
    """True or false, or where traces go."""
    if isinstance(value, str) and "://" in value:
        try:
            url = urlsplit(value)
            right = url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port)
        except ValueError:
            right = False
        if not right or url.query or url.fragment:
            raise ValueError("expected the URL of a collector, such as http://127.0.0.1:4318")
        if url.username is not None or url.password is not None:
            raise ValueError("keep credentials out of the URL: OTEL_EXPORTER_OTLP_HEADERS is for them")
        return value
    try:
        return flag(value)
    except ValueError:
        raise ValueError("expected true, false or a URL such as http://127.0.0.1:4318") from None


def count(value: object) -> int:
    """A whole number of at least 1."""
    number = whole(value)
    if number < 1:
        raise ValueError("must be at least 1")
    return number


def seed(value: object) -> bool:
    """``auto`` (true) or ``off`` (false)."""
    if value == "auto":
        return True
    if value is False or (isinstance(value, str) and BOOLS.get(value.strip().lower()) is False):
        return False
    raise ValueError("expected auto or off")


def warm_spans(value: object) -> tuple[KeepWarmSpan, ...]:
    """Parts of the week."""
    return tuple(parse_span(text) for text in names(value))
