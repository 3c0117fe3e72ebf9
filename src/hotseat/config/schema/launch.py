"""The keys that the runtimes bring: at the top of the file and on a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import PlainValidator, WithJsonSchema

from hotseat.config_fields import ConfigModel
from hotseat.runtimes import registry

RuntimeName = Annotated[
    str, PlainValidator(registry.known), WithJsonSchema({"enum": list(registry.KINDS), "type": "string"})
]
DEFAULT_RUNTIME = (
    ", ".join(
        f"`{kind.name}` if `{kind.selecting_key}` is set"
        for kind in registry.KINDS.values()
        if kind.name != registry.DEFAULT
    )
    + f", else `{registry.DEFAULT}`"
)
"""How the runtime is chosen where none is named, for the reference page."""

if TYPE_CHECKING:

    class ModelLaunchKeys(ConfigModel):
        """The keys of all runtimes on a model; only the runtimes themselves know them."""

    class TopLaunchKeys(ConfigModel):
        """The keys of all runtimes at the top of the file."""

else:
    ModelLaunchKeys, TopLaunchKeys = registry.model_keys(), registry.top_keys()
