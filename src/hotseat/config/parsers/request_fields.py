"""Fields of a request body: defaults, upper bounds, fields to drop."""

# ruff: noqa: TRY004 - a value of the wrong kind is bad input here, not a bug: always ValueError

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hotseat.config_fields import names

_MAX_BOUND = 10**15
_PROTECTED = ("model", "messages", "stream")
"""Fields that hotseat needs as the client sent them."""


def fields(value: object) -> dict[str, Any]:
    """Parse fields of a request and their JSON values."""
    if not isinstance(value, dict):
        raise ValueError("expected fields and values, such as {max_tokens: 256}")
    _refuse_protected(value)
    return {name: _json(one) for name, one in value.items()}


def bounds(value: object) -> dict[str, float]:
    """Parse fields of a request and the largest value allowed for each."""
    if not isinstance(value, dict):
        raise ValueError("expected fields and numbers, such as {max_tokens: 512}")
    for bound in value.values():
        if isinstance(bound, bool) or not isinstance(bound, int | Decimal):
            raise ValueError("a bound must be a number")
        if isinstance(bound, Decimal) and not bound.is_finite():
            raise ValueError("a bound must be a finite number")
        if not -_MAX_BOUND <= bound <= _MAX_BOUND:
            raise ValueError("a bound must have at most 15 digits")
    return {name: float(bound) for name, bound in value.items()}


def field_names(value: object) -> tuple[str, ...]:
    """Parse one field name of a request or a list of them."""
    found = names(value)
    _refuse_protected(found)
    return found


def _json(value: object) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {name: _json(one) for name, one in value.items()}
    return [_json(one) for one in value] if isinstance(value, list) else value


def _refuse_protected(found: Mapping[str, Any] | tuple[str, ...]) -> None:
    if any(name in found for name in _PROTECTED):
        raise ValueError("model, messages and stream cannot be set or dropped")
