"""The contract of a runtime: a way to run models that reports facts and makes no decisions.

Runtimes are idempotent: stopping a run that has ended succeeds. They never retry on their own. One contract
suite (``tests/runtimes/contract.py``) runs over all of them, the fake included. What only some runtimes can
tell is a protocol of its own (``ReportsCommands``, ``ReportsMounts``, ``ReportsImages``, ``ReportsOutdated``,
``ReportsHealth``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec


class ListenerProof(Protocol):
    """Knows who listens at a run's address. Its methods take milliseconds at most."""

    def impostor(self, host: str | None = None) -> str | None:
        """Return who listens there instead of the run, for people; ``None``: the run does, or nobody.

        ``host``: another address of the run.
        """

    def elsewhere(self) -> str | None:
        """Return another address of this machine at which the run listens on its port; ``None``: none."""

    def addresses(self) -> list[str]:
        """Return all addresses at which the run listens, as ``HOST:PORT``."""


@dataclass(frozen=True, slots=True)
class Handle:
    """The identity and address of a run; enough for a runtime to find it again after hotseat restarts."""

    model: str
    run: int
    ident: str
    """The runtime's identifier of the run: ``pid:start-time``, or container id and start time."""
    host: str
    port: int
    base_path: str = ""
    listener: ListenerProof | None = field(default=None, compare=False, repr=False)
    """Proves that the run itself answers at the address; ``None``: the runtime vouches for it."""


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run that exists and that this process did not start."""

    handle: Handle
    fingerprint: str
    """Of the configuration that the run was started with; ``""``: unknown."""
    external: bool = False
    """Started by others (``docker compose up``), not by an earlier hotseat."""
    stands_by: bool = False
    """Prepared, and not admitted to the GPU yet."""


@dataclass(frozen=True, slots=True)
class RunExit:
    """The end of a run."""

    reason: Reason
    outside: bool = False
    """Stopped deliberately by others, so that it does not count as a crash."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """A change in whether a run can answer requests, known to the runtime before any probe."""

    handle: Handle
    trouble: Reason | None
    """Why the run cannot answer (paused, its own health check failed); ``None``: recovered, probe it now."""


class LaunchError(Exception):
    """Raised when a run could not be launched; nothing of it is left behind."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.summary)
        self.reason = reason


@runtime_checkable
class ReportsCommands(Protocol):
    """A runtime whose servers are configured elsewhere, and which can read that configuration."""

    async def command_of(self, model: ModelSpec) -> tuple[str, ...] | None:
        """Return the command of the model's server; ``None``: unknown at the moment."""

    async def grace_of(self, model: ModelSpec) -> float | None:
        """Return the configured seconds from SIGTERM to SIGKILL; ``None``: not configured, or unknown."""


@dataclass(frozen=True, slots=True)
class Mounts:
    """A container's environment and the host folders that are mounted into it."""

    env: Mapping[str, str]
    """The container's environment."""
    folders: Mapping[str, str]
    """Host folders by mount point in the container."""

    def host_path(self, inside: Path) -> Path | None:
        """Return the host path of a path in the container; ``None``: not on a mount."""
        for around in (inside, *inside.parents):
            if (source := self.folders.get(str(around))) is not None:
                return Path(source) / inside.relative_to(around)
        return None


@runtime_checkable
class ReportsMounts(Protocol):
    """A runtime whose servers see other folders than hotseat does."""

    async def mounts_of(self, model: ModelSpec) -> Mounts | None:
        """Return the mounts of the model's container; ``None``: unknown at the moment."""


@runtime_checkable
class ReportsImages(Protocol):
    """A runtime whose servers come from images."""

    async def image_of(self, model: ModelSpec) -> str | None:
        """Return the name and digest of the model's image; ``None``: unknown at the moment."""


@runtime_checkable
class PreparesRuns(Protocol):
    """A runtime that can start a server as far as the GPU and hold it there.

    Its plain starts (``Runtime.start``) pass the same gate, which is open from their beginning.
    """

    async def prepare(self, model: ModelSpec, run: int, *, low_priority: bool = False) -> Handle:
        """Launch the model behind a closed gate and return at once; otherwise as ``Runtime.start``."""

    async def prepared(self, handle: Handle) -> int | None:
        """Return when the run stands at its gate; the host memory that it takes in MiB, where known.

        Does not return for a run that never comes there.
        """

    async def admit(self, handle: Handle) -> None:
        """Open the run's gate: it uses the GPU now, or as soon as it comes there. Raises ``LaunchError``."""

    def gate_seen(self, handle: Handle) -> bool:
        """Return whether the run has passed its gate: a closed one would have held it."""

    def known_gates(self) -> Mapping[str, str]:
        """Return, by model, the fingerprint of the latest configuration whose server knew its gate."""


@runtime_checkable
class ReportsOutdated(Protocol):
    """A runtime whose servers can have been created from settings that have changed since."""

    async def outdated(self, model: ModelSpec) -> str | None:
        """Return in what the model's server is outdated; ``None``: it is not, or it is unknown."""

    def sources_of(self, model: ModelSpec) -> tuple[str, ...]:
        """Return the files that its settings come from."""


class Runtime(Protocol):
    """A way to run models."""

    name: str

    async def open(self) -> None:
        """Connect. Does not raise when the runtime cannot be used: ``unusable()`` says why."""

    async def close(self) -> None:
        """Release everything except the runs, which go on running."""

    def unusable(self) -> str | None:
        """Return why nothing can be started or stopped now, for people; ``None``: usable."""

    async def recover(self, models: dict[str, ModelSpec]) -> list[FoundRun]:
        """Return the runs that exist already, at most one for each model.

        Runs of an earlier hotseat that no model can use (unknown name, second copy, interrupted launch)
        have been killed when this returns.
        """

    async def start(self, model: ModelSpec, run: int) -> Handle:
        """Launch the model and return at once, while it still loads.

        Raises ``LaunchError``. When cancelled, nothing of the run is left behind.
        """

    async def wait(self, handle: Handle) -> RunExit:
        """Return when the run has ended and all its processes are gone."""

    async def stop(self, handle: Handle, grace_s: float) -> None:
        """Stop the run: SIGTERM, ``grace_s`` seconds, SIGKILL; return when all its processes are gone.

        Succeeds for a run that has ended already. ``grace_s`` 0 kills at once.
        """

    def lines(self, handle: Handle, last: int | None = None) -> AsyncIterator[str]:
        """Yield the run's output line by line from its start; ends when the run has ended.

        ``last``: begin with this many of the lines written so far.
        """

    async def tail(self, model: str, count: int) -> list[str]:
        """Return the last lines of the model's current or latest run."""

    def watch(self) -> AsyncIterator[FoundRun]:
        """Yield runs that others start while hotseat is running (none, for plain processes)."""


@dataclass(frozen=True, slots=True)
class ReplicaAddress:
    """Host and port of one replica of a run."""

    host: str
    port: int


@runtime_checkable
class ReportsAddresses(Protocol):
    """A runtime whose runs may move, or be served by several replicas."""

    def addresses(self, handle: Handle) -> AsyncIterator[tuple[ReplicaAddress, ...]]:
        """Yield all addresses that serve the run, whenever they have changed; ends when the run has ended."""


@dataclass(frozen=True, slots=True)
class PlacementReport:
    """A change in whether there is room for a run that is being launched."""

    model: str
    run: int
    reason: Reason | None
    """Why there is none (``0/3 nodes are available: 3 Insufficient nvidia.com/gpu``); ``None``: there is."""


@runtime_checkable
class ReportsPlacement(Protocol):
    """A runtime that is told where a run may go by somebody else, who may have no room for it."""

    def placement_reports(self) -> AsyncIterator[PlacementReport]:
        """Yield each report; every few seconds again while there is no room."""


class Leadership(Protocol):
    """The election of one leader among several launchers."""

    async def acquire(self) -> None:
        """Return when this launcher leads."""

    async def lost(self) -> None:
        """Keep the leadership; return when another launcher leads."""

    async def release(self) -> None:
        """Give the leadership up."""

    async def close(self) -> None:
        """Let go of everything."""


@runtime_checkable
class ReportsHealth(Protocol):
    """A runtime that is notified when a run can no longer answer."""

    def health_reports(self) -> AsyncIterator[HealthReport]:
        """Yield reports as they arrive."""
