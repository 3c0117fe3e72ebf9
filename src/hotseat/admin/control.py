"""The small protocol that the admin API needs from whoever owns the models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from hotseat.core.errors import Reason, Refusal
from hotseat.core.views import ModelView, Upstream


class CannotReload(Exception):
    """The configuration was read again and is not right; nothing has changed."""

    def __init__(self, problems: Sequence[str]) -> None:
        count = len(problems)
        super().__init__(
            f"nothing was changed: the configuration has {count} problem{'' if count == 1 else 's'}"
        )
        self.problems = list(problems)


Reload = Callable[[], Awaitable[Mapping[str, list[str]]]]
"""Reads the configuration again and applies it; what it changed. Raises ``CannotReload``."""


class CaptureControl(Protocol):
    """The debug capture: prompts and answers of one model, to a file, for a bounded time."""

    def start(self, model: str, seconds: float) -> Mapping[str, Any]:
        """Begin, or go on until so many seconds from now; what ``told`` says of it. Raises
        ``OSError`` where the file cannot be made."""

    def stop(self, model: str) -> Mapping[str, Any] | None:
        """End it; what came of it, or ``None`` where there was none."""

    def told(self) -> Mapping[str, Mapping[str, Any]]:
        """What is captured now, by model: ``file``, ``until``, ``requests``, ``bytes``."""


class Control(Protocol):
    """What is going on, and orders to change it."""

    def views(self) -> Mapping[str, ModelView]:
        """A snapshot of every model."""

    def now(self) -> float:
        """The time in which snapshots speak (monotonic seconds)."""

    def phase(self, model: str) -> str | None:
        """How far a loading model is."""

    def eta_s(self, model: str) -> float | None:
        """How long until it is ready, learned; ``None`` until there is data."""

    def spin_ups(self, model: str) -> list[float]:
        """How long its latest starts took, in seconds, oldest first."""

    def requests(self, model: str) -> int:
        """Leases granted since we run."""

    def unusable(self) -> Mapping[str, str]:
        """Runtimes that cannot work now, and why."""

    async def start(self, model: str, *, wait: bool) -> Refusal | None:
        """Start it, backoff or not. With ``wait``: return when it is ready, or why it is not."""

    async def stop(self, model: str, *, wait: bool, to_sleep: bool = False) -> Reason | None:
        """Drain and stop it. With ``wait``: return when it is gone.

        ``to_sleep``: put it to sleep instead, where it sleeps at all.
        """

    async def made_of(self, model: str) -> tuple[tuple[str, ...] | None, str | None]:
        """The command of its server, and the image of its container, as far as they are known now."""

    async def tail(self, model: str, count: int) -> list[str]:
        """The last lines that its current or latest run wrote."""

    def follow(self, model: str, last: int) -> AsyncIterator[str]:
        """The last lines of its current or latest run, then each as it comes, through all runs to come."""

    def upstream(self, model: str) -> Upstream | None:
        """The address of its run while that is ready."""
