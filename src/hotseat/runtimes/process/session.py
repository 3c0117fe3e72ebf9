"""One run of a plain process: a session leader and whatever it started, from launch to the last end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress

from hotseat.core.errors import LINES_JUDGED, Reason
from hotseat.runtimes.base import Handle, RunExit
from hotseat.runtimes.process import procfs
from hotseat.runtimes.process.launch_records import LaunchRecord
from hotseat.runtimes.process.log_file import LogFile

log = logging.getLogger(__name__)

LOG_CHECK_S = 5.0
STUBBORN_S = 10.0


class ProcessSession:
    """A run that we watch: our child, or one that an earlier hotseat left."""

    def __init__(self, launch: LaunchRecord, host: str, output: LogFile) -> None:
        """Raises ``ProcessLookupError`` when the leader has gone and was collected."""
        self.launch = launch
        self.output = output
        self.handle = Handle(launch.model, launch.run, f"{launch.pid}:{launch.start}", host, launch.port)
        self._pidfd = os.pidfd_open(launch.pid)
        now = procfs.stat(launch.pid)
        if now is None or now.start != launch.start:
            os.close(self._pidfd)
            raise ProcessLookupError(launch.pid)
        self._leader_ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._pidfd, self._leader_has_ended)
        self._asked = False
        self._forced = False
        self._end: asyncio.Future[RunExit] = asyncio.get_running_loop().create_future()

    @property
    def ended(self) -> bool:
        """Every process of it has ended."""
        return self._end.done()

    async def end(self) -> RunExit:
        """Wait until every process of it has ended."""
        return await asyncio.shield(self._end)

    def _leader_has_ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self._leader_ended.set()

    async def watch(self) -> None:
        """See it through to its end; the one task that may end it without being asked."""
        while not self._leader_ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOG_CHECK_S):
                    await self._leader_ended.wait()
            self.output.bound()
        # Not collected yet: while its entry is there, its number is nobody else's.
        await self._end_the_rest()
        reason = self._collect()
        self.close()
        self._end.set_result(RunExit(reason))

    async def _end_the_rest(self) -> None:
        """What the leader leaves behind is killed: at once, or, if it was asked to stop, after the grace.

        What left its group was asked nothing and gets no grace.
        """
        pause_s, waited_s = 0.005, 0.0
        while members := await asyncio.to_thread(self.launch.members):
            for member in members:
                if self._forced or not self._asked or member.group != self.launch.pid:
                    procfs.kill(member, signal.SIGKILL)
            await asyncio.sleep(pause_s)
            waited_s += pause_s
            pause_s = min(2 * pause_s, 0.1)
            if self._forced and waited_s > STUBBORN_S:
                pids = ", ".join(str(member.pid) for member in members)
                log.warning("model %s: killed, but still there: pid %s", self.launch.model, pids)
                waited_s = 0.0

    def _collect(self) -> Reason:
        lines = tuple(self.output.tail(LINES_JUDGED))
        try:
            _, status = os.waitpid(self.launch.pid, 0)
        except ChildProcessError:  # adopted: its end is known, its status is not
            return Reason(summary="exited (found running, so with an unknown code)", lines=lines)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return Reason(summary=f"killed by {procfs.signal_name(-code)}", signal=-code, lines=lines)
        return Reason(summary=f"exited with code {code}", exit_code=code, lines=lines)

    async def stop(self, grace_s: float) -> None:
        """Ask, wait ``grace_s``, force; return when every process of it has ended."""
        if grace_s > 0 and not self.ended:
            if not self._asked:
                self._asked = True
                self._signal_group(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.end()
        if not self.ended:
            self._asked = True
            self._forced = True
            self._signal_group(signal.SIGKILL)
        await self.end()

    def _signal_group(self, number: signal.Signals) -> None:
        # Until the leader is collected its number is this group's; an adopted one is collected by others.
        if self._leader_ended.is_set():
            return  # what is left is seen to by watch
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.launch.pid, number)

    def close(self) -> None:
        """Watch no more; what runs runs on."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
