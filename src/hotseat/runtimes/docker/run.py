"""One start of a model's container, by hotseat or by others: its events, its last lines and its end."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hotseat.core.errors import LINES_JUDGED, Reason
from hotseat.runtimes.base import Handle, HealthReport, RunExit
from hotseat.runtimes.docker import inspection
from hotseat.runtimes.docker.inspection import DockerUnavailable, EventEvidence

if TYPE_CHECKING:
    from hotseat.runtimes.docker.engine import DockerEngine

_LINES_WITHIN_S = 2.0
"""Seconds to wait for the end of the log: normally hundredths; an overloaded engine may withhold it."""
_EVENT_WITHIN_S = 0.2
"""Seconds to wait for the die event where an inspection saw the end first: the event has the exit code."""
_UNHEALTHY = {
    "pause": Reason(summary="its container is paused", hint="docker unpause it, or stop it"),
    "health_status: unhealthy": Reason(summary="its container's health check failed"),
}
_HEALTHY = {"unpause", "health_status: healthy"}


class ContainerRun:
    """One start of one container."""

    def __init__(self, handle: Handle, log_since: str, *, limited: bool = True) -> None:
        """``limited``: the container has a memory limit, so the kernel may kill it for exceeding that."""
        self.handle = handle
        self.limited = limited
        self.container = handle.ident.partition("@")[0]
        self.log_since = log_since
        self.evidence = EventEvidence()
        self.stop_requested = False
        """Whether hotseat has asked it to stop."""
        self.died = asyncio.Event()
        """Set when its die event has arrived."""
        self.over = asyncio.Event()
        self.exit: RunExit | None = None
        self.log_ended = asyncio.Event()
        self._last_lines: deque[str] = deque(maxlen=LINES_JUDGED)

    def is_running_in(self, found: Mapping[str, Any] | None) -> bool:
        """Whether this container, as inspected, is this run and is running."""
        return (
            found is not None
            and inspection.ident(found) == self.handle.ident
            and inspection.is_running(found)
        )

    def end_is_known(self) -> bool:
        """Whether the die event says all, so that the container need not be inspected.

        The engine answers an inspection only when it has cleaned up, a tenth of a second later. A SIGKILL
        without a known sender may come from the OOM killer, though, which only an inspection tells.
        """
        evidence = self.evidence
        killed = evidence.exit_code == 128 + signal.SIGKILL and evidence.signal is None
        return evidence.died_at is not None and not (killed and self.limited and evidence.oom_at is None)

    def on_event(self, action: str, at: float, attributes: Mapping[str, Any]) -> HealthReport | None:
        """Record an event of the container; return a report if it says whether the run can answer."""
        evidence = self.evidence
        if at < inspection.started_s(self.handle.ident):
            return None  # belongs to an earlier start of this container
        if action == "kill":
            evidence.signal, evidence.signalled_at = int(attributes.get("signal") or 0), at
        elif action == "oom":
            evidence.oom_at = at
        elif action == "die" and evidence.died_at is None:
            evidence.exit_code, evidence.died_at = int(attributes["exitCode"]), at
            self.died.set()
        elif action in _UNHEALTHY:
            return HealthReport(self.handle, _UNHEALTHY[action])
        elif action in _HEALTHY:
            return HealthReport(self.handle, None)
        return None

    async def follow_log(self, engine: DockerEngine) -> None:
        """Keep the last lines of the log: they cannot be read from a container that was removed."""
        self._last_lines.clear()
        async for line in engine.follow(self.container, self.log_since, tail=LINES_JUDGED):
            self._last_lines.append(line)
        self.log_ended.set()

    async def end(self, engine: DockerEngine, found: Mapping[str, Any] | None) -> None:
        """Record the end of the run and its reason. ``found``: the container now, where it was inspected."""
        if not self.evidence.events_missed:
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVENT_WITHIN_S):
                    await self.died.wait()
        lines: list[str] = []
        with suppress(DockerUnavailable, TimeoutError):
            async with asyncio.timeout(_LINES_WITHIN_S):
                if self.evidence.died_at is None:  # the engine was disconnected
                    lines = await engine.last_lines(self.container, LINES_JUDGED, self.log_since)
                else:
                    await self.log_ended.wait()
        self.exit = inspection.exit_of(
            self.handle.ident,
            found,
            self.evidence,
            stop_requested=self.stop_requested,
            lines=tuple(lines or self._last_lines),
        )
        self.over.set()
