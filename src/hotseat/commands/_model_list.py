"""The models that a client's key gives access to: ``GET /v1/models``, in OpenAI's format."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class ModelListing(Struct, frozen=True, kw_only=True):
    """One model that a client may ask for."""

    id: str


class ModelList(Struct, frozen=True, kw_only=True):
    """The response of ``GET /v1/models``."""

    data: Sequence[ModelListing]

    @property
    def names(self) -> list[str]:
        """The names that clients may ask for."""
        return [one.id for one in self.data]
