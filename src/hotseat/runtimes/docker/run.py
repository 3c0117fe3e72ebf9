"""One start of a container that is a model's, by us or by somebody else: what is heard of it, and its end."""

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
"""The log ends with the container, or hundredths of a second after; an engine in trouble may keep it."""
_TOLD_WITHIN_S = 0.2
"""Where its end was seen before it was heard of, the event gets so long: it knows the exit code."""
_TROUBLE = {
    "pause": Reason(summary="its container is paused", hint="docker unpause it, or stop it"),
    "health_status: unhealthy": Reason(summary="its container's health check failed"),
}
_MENDED = {"unpause", "health_status: healthy"}


class ContainerRun:
    """One start of one container."""

    def __init__(self, handle: Handle, log_since: str, *, limited: bool = True) -> None:
        """``limited``: its memory is, so that it may be killed for want of it."""
        self.handle = handle
        self.limited = limited
        self.container = handle.ident.partition("@")[0]
        self.log_since = log_since
        self.evidence = EventEvidence()
        self.ordered = False
        """We told it to stop."""
        self.died = asyncio.Event()
        """Its death was heard of."""
        self.over = asyncio.Event()
        self.exit: RunExit | None = None
        self.log_ended = asyncio.Event()
        self._last_lines: deque[str] = deque(maxlen=LINES_JUDGED)

    def shows(self, found: Mapping[str, Any] | None) -> bool:
        """This container, as inspected, is this run, and it runs."""
        return (
            found is not None
            and inspection.ident(found) == self.handle.ident
            and inspection.is_running(found)
        )

    def death_told(self) -> bool:
        """Its death was heard of, and nothing more can be learned from its container.

        The engine answers about a container only when it has tidied up after it, a tenth of a second
        later. A SIGKILL that nobody is known to have sent may be one for want of memory, though.
        """
        evidence = self.evidence
        killed = evidence.exit_code == 128 + signal.SIGKILL and evidence.signal is None
        return evidence.died_at is not None and not (killed and self.limited and evidence.oom_at is None)

    def hear(self, action: str, at: float, told: Mapping[str, Any]) -> HealthReport | None:
        """Take note of an event of its container; a sign, where it says whether the run can answer."""
        evidence = self.evidence
        if at < inspection.started_s(self.handle.ident):
            return None  # of an earlier start of this container
        if action == "kill":
            evidence.signal, evidence.signalled_at = int(told.get("signal") or 0), at
        elif action == "oom":
            evidence.oom_at = at
        elif action == "die" and evidence.died_at is None:
            evidence.exit_code, evidence.died_at = int(told["exitCode"]), at
            self.died.set()
        elif action in _TROUBLE:
            return HealthReport(self.handle, _TROUBLE[action])
        elif action in _MENDED:
            return HealthReport(self.handle, None)
        return None

    async def listen(self, engine: DockerEngine) -> None:
        """Keep the last lines that it writes: of a container that is removed, nothing can be read later."""
        self._last_lines.clear()
        async for line in engine.follow(self.container, self.log_since, tail=LINES_JUDGED):
            self._last_lines.append(line)
        self.log_ended.set()

    async def end(self, engine: DockerEngine, found: Mapping[str, Any] | None) -> None:
        """It has ended: find out why. ``found`` is its container now, as far as that was looked up."""
        if not self.evidence.unseen:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TOLD_WITHIN_S):
                    await self.died.wait()
        lines: list[str] = []
        with suppress(DockerUnavailable, TimeoutError):
            async with asyncio.timeout(_LINES_WITHIN_S):
                if self.evidence.died_at is None:  # we were not there
                    lines = await engine.last_lines(self.container, LINES_JUDGED, self.log_since)
                else:
                    await self.log_ended.wait()
        self.exit = inspection.why(
            self.handle.ident,
            found,
            self.evidence,
            ordered=self.ordered,
            lines=tuple(lines or self._last_lines),
        )
        self.over.set()
