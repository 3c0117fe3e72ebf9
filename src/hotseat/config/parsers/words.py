"""Parsers of words out of a fixed list."""

from __future__ import annotations

from hotseat.config_fields import names
from hotseat.engines.abilities import CAPABILITIES


def capabilities(value: object) -> tuple[str, ...]:
    """Parse one capability or a list of them."""
    found = names(value)
    if not set(found) <= set(CAPABILITIES):
        raise ValueError(f"expected words among {', '.join(CAPABILITIES)}")
    return found
