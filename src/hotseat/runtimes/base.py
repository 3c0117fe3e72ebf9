"""The contract of a runtime: a way to run models that reports facts and has no opinions.

Runtimes are idempotent: stopping what is gone is success. They never decide; they never retry.
One contract suite (``tests/runtimes/contract.py``) runs over all of them, the fake included.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Handle:
    """What a runtime needs to find its run again after *our* restart."""

    model: str
    run: int
    ident: str
    """The runtime's own name of it: ``pid:start-time``, or a container's id."""
    host: str
    port: int
    base_path: str = ""


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run that exists and that this process did not start."""

    handle: Handle
    fingerprint: str
    """Of the configuration that it was started with; ``""`` where that is not known."""
    external: bool = False
    """Started by somebody else (``docker compose up``), not by an earlier hotseat."""


@dataclass(frozen=True, slots=True)
class RunExit:
    """The end of a run."""

    reason: Reason
    outside: bool = False
    """Stopped deliberately by somebody else: no crash."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Something that says whether a run can answer now, before any probe finds out."""

    handle: Handle
    trouble: Reason | None
    """Why it cannot (paused, its own health check failed); ``None``: it can again, look at it now."""


class LaunchError(Exception):
    """A run could not be launched; nothing of it is left behind."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.summary)
        self.reason = reason


@runtime_checkable
class ReportsCommands(Protocol):
    """A runtime whose runs are made by somebody else, and which can say how."""

    async def command_of(self, model: ModelSpec) -> tuple[str, ...] | None:
        """The command that the model's server is given; ``None`` where nobody knows it now."""

    async def grace_of(self, model: ModelSpec) -> float | None:
        """How long it is given to end by itself, in seconds, where that was said."""


@dataclass(frozen=True, slots=True)
class Mounts:
    """What a container sees of the host's folders."""

    env: Mapping[str, str]
    """Its environment."""
    folders: Mapping[str, str]
    """Folders of the host by where it sees them."""

    def outside(self, inside: Path) -> Path | None:
        """The host's folder behind one of its own; ``None``: its own alone."""
        for around in (inside, *inside.parents):
            if (source := self.folders.get(str(around))) is not None:
                return Path(source) / inside.relative_to(around)
        return None


@runtime_checkable
class ReportsMounts(Protocol):
    """A runtime whose runs see other folders than we do."""

    async def mounts_of(self, model: ModelSpec) -> Mounts | None:
        """The mounts of the model's container; ``None`` where nobody knows them now."""


@runtime_checkable
class ReportsImages(Protocol):
    """A runtime whose runs come from images."""

    async def image_of(self, model: ModelSpec) -> str | None:
        """The image's name and the digest of what it is now; ``None`` where nobody knows it now."""


class Runtime(Protocol):
    """A way to run models."""

    name: str

    async def open(self) -> None:
        """Get ready to work. Never raises for an unusable runtime: ``unusable()`` says why."""

    async def close(self) -> None:
        """Let go of everything but the runs themselves."""

    def unusable(self) -> str | None:
        """Why nothing can be started or stopped now, in words for a person; ``None`` when all is well."""

    async def recover(self, models: dict[str, ModelSpec]) -> list[FoundRun]:
        """What runs already, at most one for a model.

        Everything that is ours and that no model can use (unknown name, second copy, a launch that
        was cut short) has been swept away when this returns.
        """

    async def start(self, model: ModelSpec, run: int) -> Handle:
        """Launch the model and return at once; it loads on its own.

        Raises ``LaunchError``. When cancelled, nothing of the run is left behind.
        """

    async def wait(self, handle: Handle) -> RunExit:
        """Return when the run has ended and everything of it is gone."""

    async def stop(self, handle: Handle, grace_s: float) -> None:
        """End the run: ask, wait ``grace_s``, then force; return when all of it is gone.

        A run that is already gone is success. ``grace_s`` 0 forces at once.
        """

    def lines(self, handle: Handle, last: int | None = None) -> AsyncIterator[str]:
        """What the run writes, from its start, as it comes; ends when the run has ended.

        ``last``: of what it has written by now, only so many lines.
        """

    async def tail(self, model: str, count: int) -> list[str]:
        """The last lines of the model's current or latest run."""

    def watch(self) -> AsyncIterator[FoundRun]:
        """Runs that somebody else starts while we work (none, for plain processes)."""


@runtime_checkable
class ReportsHealth(Protocol):
    """A runtime that hears of a run's troubles by itself."""

    def signs(self) -> AsyncIterator[HealthReport]:
        """What it hears, as it comes."""
