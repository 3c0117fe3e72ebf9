"""Declaration of a runtime: its keys in the configuration file, and how it is created.

The package of a runtime has a module ``kind`` with a ``KIND``; ``registry`` finds it there. These modules are
read by everything that reads a configuration, so they import no client library: ``create`` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from hotseat.config_fields import ConfigModel
from hotseat.core.spec import LaunchSpec
from hotseat.runtimes.base import Leadership, Runtime

ModelKeys = TypeVar("ModelKeys", bound=ConfigModel)
TopKeys = TypeVar("TopKeys", bound=ConfigModel)

KeyPath = tuple[str | int, ...]
"""Where a value stands in the file: ``("models", "chat", "port")``."""


class NoKeys(ConfigModel):
    """The keys of a runtime that has none."""


class ProblemLog(Protocol):
    """Log of mistakes in the file; reading goes on, so that all are shown at once."""

    bad: set[KeyPath]
    """Values with a problem already: one is enough."""

    def problem(self, path: KeyPath, message: str, fix: str = "") -> None:
        """Report a problem with the value of this path."""

    def tainted(self, path: KeyPath) -> bool:
        """Whether something at or under this path is wrong already, so that nothing follows from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLaunch(Generic[ModelKeys, TopKeys]):
    """Launch of a model as it is written in the file."""

    path: KeyPath
    """Of the model: ``("models", "chat")``."""
    model: ModelKeys
    top: TopKeys
    """The runtime's keys at the top of the file."""
    problems: ProblemLog
    file: Callable[[str], str]
    """Resolves a path relative to the configuration file."""
    devices: tuple[str, ...] | None = None
    """GPU devices that the model's server is to see; ``None``: as its environment says."""
    every_device: bool = True
    """Whether these are all configured devices."""
    examples: tuple[str, ...]
    """Keys that say what to start, as one writes them; those of every runtime where none was chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySection:
    """A mapping among a runtime's keys: its name as a key, and its part of the reference."""

    key: str
    title: str
    about: str
    keys: type[ConfigModel]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeKind(Generic[ModelKeys, TopKeys]):
    """A runtime as the configuration and the composition root know it."""

    name: str
    """As ``runtime`` names it in the file."""
    model_keys: type[ModelKeys]
    """The keys of ``models.NAME`` that configure it."""
    top_keys: type[TopKeys]
    """The keys at the top of the file that configure it."""
    sections: tuple[KeySection, ...] = ()
    selecting_key: str
    """The key of ``model_keys`` that chooses this runtime where ``runtime`` is not written."""
    example: str
    """The least that a model of this runtime says: ``container: NAME``."""
    on_this_machine: bool = True
    """Whether its models use the GPUs that this machine's driver shows."""
    resolve: Callable[[WrittenLaunch[ModelKeys, TopKeys]], LaunchSpec]
    """Checks the keys and makes the launch of them. Problems go into the log."""
    elect: Callable[[str], Leadership] | None = None
    """Makes the election of a leader among several launchers, for the runtime that has such a thing."""
    create: Callable[[Path], Runtime]
    """Makes the runtime over a state directory; it is opened later. Imports what it needs."""
