"""Protocols that the admin API needs from the owner of the models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from hotseat.core.errors import Reason, Refusal
from hotseat.core.views import ModelView, Upstream


class CannotReload(Exception):
    """The configuration was read again and is invalid; nothing has changed."""

    def __init__(self, problems: Sequence[str]) -> None:
        count = len(problems)
        super().__init__(
            f"the configuration has {count} problem{'' if count == 1 else 's'}, so nothing was changed"
        )
        self.problems = list(problems)


Reload = Callable[[], Awaitable[Mapping[str, list[str]]]]
"""Reads the configuration again, applies it and returns what it changed. Raises ``CannotReload``."""


class CaptureControl(Protocol):
    """The debug capture: writes prompts and answers of one model to a file for a limited time."""

    def start(self, model: str, seconds: float) -> Mapping[str, Any]:
        """Begin a capture, or extend it, until ``seconds`` from now; returns its entry in ``told``.

        Raises ``OSError`` when the file cannot be created.
        """

    def stop(self, model: str) -> Mapping[str, Any] | None:
        """End a capture; returns its last entry in ``told``, or ``None`` when there was none."""

    def told(self) -> Mapping[str, Mapping[str, Any]]:
        """Running captures by model: ``file``, ``until``, ``requests``, ``bytes``."""


class Control(Protocol):
    """State of the models, and orders that change it."""

    def views(self) -> Mapping[str, ModelView]:
        """A snapshot of every model."""

    def now(self) -> float:
        """The clock of the snapshots' times (monotonic seconds)."""

    def phase(self, model: str) -> str | None:
        """Phase of a loading model, such as ``compiling``; ``None`` for others."""

    def eta_s(self, model: str) -> float | None:
        """Seconds until it is ready, estimated from past starts; ``None`` without data."""

    def spin_ups(self, model: str) -> list[float]:
        """Seconds that its latest starts took, oldest first."""

    def requests(self, model: str) -> int:
        """Leases granted since hotseat started."""

    def unusable(self) -> Mapping[str, str]:
        """Runtimes that cannot be used now, and why."""

    async def start(self, model: str, *, wait: bool) -> Refusal | None:
        """Start a model, even in backoff. With ``wait``: return when it is ready, or the refusal."""

    async def stop(self, model: str, *, wait: bool, to_sleep: bool = False) -> Reason | None:
        """Drain and stop a model. With ``wait``: return when its run has ended.

        ``to_sleep``: put it to sleep instead, if it can sleep.
        """

    async def made_of(self, model: str) -> tuple[tuple[str, ...] | None, str | None]:
        """The command of its server and the image of its container, each ``None`` while unknown."""

    async def tail(self, model: str, count: int) -> list[str]:
        """The last ``count`` log lines of its current or latest run."""

    def follow(self, model: str, last: int) -> AsyncIterator[str]:
        """The last lines of its current or latest run, then each new line, through all later runs."""

    def upstream(self, model: str) -> Upstream | None:
        """The address of its run while that is ready, otherwise ``None``."""
