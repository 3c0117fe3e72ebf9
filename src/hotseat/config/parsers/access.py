"""The small languages of the front door: limits, origins, networks, moments, bounds.

As in ``values``: each function takes what YAML gave and raises ``ValueError`` with words for a person,
which never repeat the value.
"""

# ruff: noqa: TRY004 - a value of the wrong kind is bad input here, not a bug: always ValueError

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from hotseat.config.parsers import values
from hotseat.config_fields import names
from hotseat.core.access_spec import LimitSpec

RATE = "a rate such as 30/minute, 1000/day or 10/90s"
_UNITS_S = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_RATE_KEYS = ("rate", "tokens", "concurrent", "per", "burst")
_MAX_AMOUNT = 10**12


def rate_limits(value: object) -> tuple[LimitSpec, ...]:
    """A rate, a mapping with one, or a list of such."""
    listed = value if isinstance(value, list) else [value]
    return tuple(_limit(one) for one in listed)


def _limit(value: object) -> LimitSpec:
    if not isinstance(value, dict):
        amount, per_s = _rate(value)
        return LimitSpec(amount=amount, per_s=per_s)
    unknown = sorted(set(value) - set(_RATE_KEYS))
    if unknown:
        raise ValueError(f"a limit has only these keys: {', '.join(_RATE_KEYS)}")
    kinds = [kind for kind in ("rate", "tokens", "concurrent") if kind in value]
    if len(kinds) != 1:
        raise ValueError("a limit has exactly one of rate, tokens and concurrent")
    per = value.get("per", "key")
    if per not in ("client", "key", "total"):
        raise ValueError("per is client, key or total")
    per = cast(Literal["client", "key", "total"], per)
    kind = kinds[0]
    if kind == "concurrent":
        if "burst" in value:
            raise ValueError("burst goes with rate")
        return LimitSpec(amount=_amount(value[kind]), per_s=0, what="concurrent", per=per)
    amount, per_s = _rate(value[kind])
    burst = value.get("burst")
    if burst is None:
        return LimitSpec(amount=amount, per_s=per_s, what="requests" if kind == "rate" else "tokens", per=per)
    if kind != "rate":
        raise ValueError("burst goes with rate")
    burst = _amount(burst)
    if burst > amount:
        raise ValueError("burst cannot be more than the rate allows in its time")
    return LimitSpec(amount=amount, per_s=per_s, per=per, burst=burst)


def _rate(value: object) -> tuple[int, float]:
    if not isinstance(value, str):
        raise ValueError(f"expected {RATE}")
    count, slash, time = (part.strip().lower() for part in value.partition("/"))
    if not slash or not count.isascii() or not count.isdigit():
        raise ValueError(f"expected {RATE}")
    per_s = _UNITS_S.get(time) or _UNITS_S.get(time.removesuffix("s"))
    if per_s is None:
        try:
            per_s = values.positive_duration(time if time[:1].isdigit() else f"1{time}")
        except ValueError:
            raise ValueError(f"expected {RATE}") from None
    return _amount(int(count[:18])), per_s


def _amount(value: object) -> int:
    amount = values.count(value)
    if amount > _MAX_AMOUNT:
        raise ValueError("must be at most a million million")
    return amount


def origins(value: object) -> tuple[str, ...]:
    """Web origins, as a browser writes them: ``https://example.org``; ``*`` alone for all."""
    found = names(value)
    if found == ("*",):
        return found
    for origin in found:
        try:
            parts = urlsplit(origin)
            sound = bool(parts.hostname) and parts.scheme.isalpha() and (parts.port or 1) > 0
        except ValueError:
            sound = False
        if not sound or origin != f"{parts.scheme}://{parts.netloc}".lower() or "@" in origin:
            raise ValueError(
                "an origin is written as a browser does: https://example.org, in lower case, with its port "
                "where it is not the usual one, and nothing after it"
            )
    return found


def page_origins(value: object) -> tuple[str, ...]:
    """Web origins, each by its name."""
    found = origins(value)
    if found == ("*",):
        raise ValueError("name the origins")
    return found


def networks(value: object) -> tuple[str, ...]:
    """Addresses and networks."""
    found = names(value)
    for network in found:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError(
                "expected addresses or networks such as 127.0.0.1 or 172.16.0.0/12 (no bits set behind the /)"
            ) from None
    return found


def moment(value: object) -> float:
    """A day (its end, in UTC) or a moment; seconds since 1970."""
    if isinstance(value, str):
        text = value.strip()
        try:
            if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
                day = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)
                return (day + datetime.timedelta(days=1)).timestamp()
            at = datetime.datetime.fromisoformat(text)
            return (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
    raise ValueError("expected a day such as 2027-01-31, or a moment such as 2027-01-31T12:00:00Z")


def digest(value: object) -> bytes:
    """A SHA-256 hash in hexadecimal."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9A-Fa-f]{64}", value.strip()):
        raise ValueError("expected a SHA-256 hash: 64 hexadecimal digits (printf %s KEY | sha256sum)")
    return bytes.fromhex(value.strip())


def secret(value: object) -> str:
    """A key: text that a header can carry."""
    if not isinstance(value, str) or not value:
        raise ValueError("expected a key as text, best from the environment: ${VARIABLE}")
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValueError("a key is made of printable ASCII characters, with no space at its ends")
    return value


def fields(value: object) -> dict[str, Any]:
    """Fields of a request and their JSON values."""
    if not isinstance(value, dict):
        raise ValueError("expected fields and values, such as {max_tokens: 256}")
    _no_model(value)
    return {name: _json(one) for name, one in value.items()}


def _json(value: object) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {name: _json(one) for name, one in value.items()}
    return [_json(one) for one in value] if isinstance(value, list) else value


def bounds(value: object) -> dict[str, float]:
    """Fields of a request and the most that may be asked."""
    if not isinstance(value, dict):
        raise ValueError("expected fields and numbers, such as {max_tokens: 512}")
    for bound in value.values():
        if isinstance(bound, bool) or not isinstance(bound, int | Decimal):
            raise ValueError("a bound is a number")
        if not -(10**15) <= bound <= 10**15:
            raise ValueError("a bound of more than 15 digits bounds nothing")
    return {name: float(bound) for name, bound in value.items()}


def field_names(value: object) -> tuple[str, ...]:
    """Fields of a request."""
    found = names(value)
    _no_model(found)
    return found


def _no_model(names: Mapping[str, Any] | tuple[str, ...]) -> None:
    if any(name in names for name in ("model", "messages", "stream")):
        raise ValueError("model, messages and stream are not for defaults or drop")
