"""Rate limits: requests or tokens in a time, and requests at once."""

# ruff: noqa: TRY004 - a value of the wrong kind is bad input here, not a bug: always ValueError

from __future__ import annotations

from typing import Literal, cast

from hotseat.config.parsers.numbers import count as parse_count
from hotseat.config.parsers.times import positive_duration
from hotseat.core.access_spec import LimitSpec

RATE = "a rate such as 30/minute, 1000/day or 10/90s"

_UNITS_S = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_KEYS = ("rate", "tokens", "concurrent", "per", "burst")
_MAX_AMOUNT = 10**12


def rate_limits(value: object) -> tuple[LimitSpec, ...]:
    """Parse a rate, a mapping that describes a limit, or a list of these."""
    listed = value if isinstance(value, list) else [value]
    return tuple(_limit(one) for one in listed)


def _limit(value: object) -> LimitSpec:
    if not isinstance(value, dict):
        amount, per_s = _rate(value)
        return LimitSpec(amount=amount, per_s=per_s)
    unknown = sorted(set(value) - set(_KEYS))
    if unknown:
        raise ValueError(f"a limit has only these keys: {', '.join(_KEYS)}")
    kinds = [kind for kind in ("rate", "tokens", "concurrent") if kind in value]
    if len(kinds) != 1:
        raise ValueError("a limit needs exactly one of rate, tokens and concurrent")
    per = value.get("per", "key")
    if per not in ("client", "key", "total"):
        raise ValueError("per must be client, key or total")
    per = cast(Literal["client", "key", "total"], per)
    kind = kinds[0]
    if kind == "concurrent":
        if "burst" in value:
            raise ValueError("burst is allowed with rate only")
        return LimitSpec(amount=_amount(value[kind]), per_s=0, what="concurrent", per=per)
    amount, per_s = _rate(value[kind])
    burst = value.get("burst")
    if burst is None:
        return LimitSpec(amount=amount, per_s=per_s, what="requests" if kind == "rate" else "tokens", per=per)
    if kind != "rate":
        raise ValueError("burst is allowed with rate only")
    burst = _amount(burst)
    if burst > amount:
        raise ValueError("burst must not exceed the number of requests in the rate")
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
            per_s = positive_duration(time if time[:1].isdigit() else f"1{time}")
        except ValueError:
            raise ValueError(f"expected {RATE}") from None
    return _amount(int(count[:18])), per_s


def _amount(value: object) -> int:
    amount = parse_count(value)
    if amount > _MAX_AMOUNT:
        raise ValueError(f"must be at most {_MAX_AMOUNT}")
    return amount
