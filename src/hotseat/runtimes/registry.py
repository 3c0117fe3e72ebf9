"""The known runtimes: each package in this folder that declares its kind (``runtimes/NAME/kind.py``)."""

from __future__ import annotations

import pkgutil
from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import create_model

from hotseat import runtimes
from hotseat.config_fields import ConfigModel
from hotseat.runtimes.base import Leadership, Runtime
from hotseat.runtimes.kind import KeySection, RuntimeKind

DEFAULT = "process"
"""The runtime of a model that neither names one nor has a key that chooses one."""


def _discover() -> Mapping[str, RuntimeKind[Any, Any]]:
    packages = sorted(one.name for one in pkgutil.iter_modules(runtimes.__path__) if one.ispkg)
    kinds = [import_module(f"{runtimes.__name__}.{name}.kind").KIND for name in packages]
    kinds.sort(key=lambda kind: kind.name != DEFAULT)
    return {kind.name: kind for kind in kinds}


KINDS = _discover()
"""By name, the default first."""


def known(value: object) -> str:
    """Return the name of a runtime. Raises ``ValueError`` for anything else."""
    if isinstance(value, str) and value in KINDS:
        return value
    *others, last = (f"'{name}'" for name in KINDS)
    raise ValueError(f"expected {', '.join(others)} or {last}")


def kind_of(name: str | None, model: ConfigModel) -> RuntimeKind[Any, Any]:
    """Return the runtime of a model: the named one, else the one whose key is set, else the default."""
    if name is not None:
        return KINDS[name]
    for kind in KINDS.values():
        if kind.name != DEFAULT and getattr(model, kind.selecting_key) is not None:
            return kind
    return KINDS[DEFAULT]


def owners(key: str) -> list[str]:
    """Return the runtimes that know this key of a model; empty for a key that belongs to no runtime."""
    return [kind.name for kind in KINDS.values() if key in kind.model_keys.model_fields]


def model_keys() -> type[ConfigModel]:
    """Return a class with the keys that all runtimes have in ``models.NAME``."""
    return _merged("ModelLaunchKeys", (kind.model_keys for kind in KINDS.values()))


def top_keys() -> type[ConfigModel]:
    """Return a class with the keys that all runtimes have at the top of the file."""
    return _merged("TopLaunchKeys", (kind.top_keys for kind in KINDS.values()))


def sections() -> list[KeySection]:
    """Return the mappings among the keys of all runtimes."""
    return [section for kind in KINDS.values() for section in kind.sections]


def create(names: Collection[str], state_dir: Path) -> dict[str, Runtime]:
    """Make the named runtimes, closed. Client libraries are imported for these only."""
    return {name: kind.create(state_dir) for name, kind in KINDS.items() if name in names}


def elect(lease: str) -> Leadership:
    """Make the election of a leader among the launchers that share this lease. Imports what it needs."""
    (make,) = (kind.elect for kind in KINDS.values() if kind.elect is not None)
    return make(lease)


def _merged(name: str, classes: Iterable[type[ConfigModel]]) -> type[ConfigModel]:
    # Fields of the last base come first: reversed, they stand in the order of the registry.
    bases = tuple(reversed(dict.fromkeys(classes)))
    return create_model(name, __base__=bases)
