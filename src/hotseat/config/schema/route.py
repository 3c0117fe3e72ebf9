"""``routes.NAME``, and what a model without a route shares with it."""

from __future__ import annotations

from pydantic import Field

from hotseat.config.schema.policy import PolicyConfig
from hotseat.config_fields import Int, Names


class PublicConfig(PolicyConfig):
    """Public path and names; written on a route, or on a model that has no route of its own."""

    path: str | None = Field(
        default=None, description="The path prefix. By default `/` followed by the name, such as `/chat`."
    )
    aliases: Names = Field(
        default=(),
        description="Other values of a request's `model` field that lead to this model. `*` "
        "stands for any characters: `claude-*`. A whole name comes before a "
        "pattern, a longer pattern before a shorter one.",
    )


class RouteConfig(PublicConfig):
    """A public name and a path prefix that lead to a model."""

    model: str | None = Field(
        default=None, description="The model that requests go to. By default the one with the route's name."
    )
    priority: Int = Field(
        default=0, description="Added to the model's priority: requests with a higher one go first."
    )
