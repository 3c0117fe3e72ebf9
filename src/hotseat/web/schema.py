"""The bodies and queries of the page's own endpoints."""

from __future__ import annotations

from typing import Annotated

import msgspec


class NoFields(msgspec.Struct):
    """An order that says everything by its path."""


class CancelOrder(msgspec.Struct):
    """Ends a request that is being answered, by its id."""

    id: str


class HoldOrder(msgspec.Struct):
    """Keeps a model ready for a while; 0 seconds end that."""

    model: str
    seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 3600


class TimelineQuery(msgspec.Struct):
    """The length of the timeline."""

    minutes: Annotated[int, msgspec.Meta(ge=1, le=7 * 24 * 60)] = 60


class MomentQuery(msgspec.Struct):
    """A time, in whole seconds since 1970."""

    since: Annotated[int, msgspec.Meta(ge=0, le=2**40)]
    until: Annotated[int, msgspec.Meta(ge=0, le=2**40)]
