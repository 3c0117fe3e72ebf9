"""One run of a plain process: a session leader and its descendants, until the last of them has ended."""

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
from hotseat.runtimes.process.listeners import RunListener, listening_sockets
from hotseat.runtimes.process.log_file import LogFile

log = logging.getLogger(__name__)

LOG_CHECK_S = 5.0
"""Seconds between two checks of the log file's size and of the run's processes."""
KILL_OVERDUE_S = 10.0
"""After so long, processes that were killed and are still there are logged."""


class ProcessSession:
    """A watched run: a child of this process, or one that an earlier hotseat left."""

    def __init__(self, launch: LaunchRecord, host: str, output: LogFile) -> None:
        """Raises ``ProcessLookupError`` when the leader has ended and was reaped."""
        self.launch = launch
        self.output = output
        self._leader_ended = asyncio.Event()
        self._known: set[procfs.Stat] = set()
        """Its processes at the latest looks: they stay its own, wherever they go."""
        self._listener = RunListener(host, launch.port, self.members)
        self.handle = Handle(
            launch.model,
            launch.run,
            f"{launch.pid}:{launch.start}",
            host,
            launch.port,
            listener=self._listener,
        )
        self._pidfd = os.pidfd_open(launch.pid)
        now = procfs.stat(launch.pid)
        if now is None or now.start != launch.start:
            os.close(self._pidfd)
            raise ProcessLookupError(launch.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._leader_has_ended)
        self._stop_requested = False
        self._kill_requested = False
        self._end: asyncio.Future[RunExit] = asyncio.get_running_loop().create_future()

    def members(self) -> list[procfs.Stat]:
        """Return its running processes, also those that have left its group and session.

        Its leader inherits all orphans among its descendants; when it ends, hotseat does. Those are
        recognized if they were seen before, bear the launch's mark, write to the run's log or listen on its
        port (once the leader has ended: while it runs, that is no proof).
        """
        members = self.launch.members(self._known, self._is_own_orphan)
        ended = {one for one in self._known if (now := procfs.stat(one.pid)) and now.start == one.start}
        self._known = ended.union(members)
        return members

    def _is_own_orphan(self, one: procfs.Stat) -> bool:
        # Between fork and exec a child that is being launched holds all that hotseat has open, this run's log
        # too. Asked first: what has been executed by now holds its own.
        if procfs.owner(one.pid) != os.geteuid() or not procfs.was_executed(one.pid):
            return False
        if self.output.is_open_in(one.pid):
            return True
        if not self._leader_ended.is_set():
            return False
        held = procfs.sockets(one.pid) or set()
        return any(it.inode in held for it in listening_sockets(self.launch.port))

    @property
    def ended(self) -> bool:
        """Whether every process of it has ended."""
        return self._end.done()

    async def end(self) -> RunExit:
        """Return when every process of it has ended."""
        return await asyncio.shield(self._end)

    def _leader_has_ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self._leader_ended.set()

    async def watch(self) -> None:
        """Wait for the leader's end, kill what it leaves behind, and record the exit."""
        while not self._leader_ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOG_CHECK_S):
                    await self._leader_ended.wait()
            self.output.bound()
            if not self._leader_ended.is_set():
                await asyncio.to_thread(self.members)
        # Not reaped yet: while its entry exists, its pid is not reused.
        await self._kill_remaining()
        reason = self._reap()
        self.close()
        self._end.set_result(RunExit(reason))

    async def _kill_remaining(self) -> None:
        """Kill what the leader leaves behind: at once, or after the grace if a stop was requested.

        Processes that left its group got no SIGTERM and get no grace.
        """
        pause_s, waited_s = 0.005, 0.0
        while members := await asyncio.to_thread(self.members):
            for member in members:
                if self._kill_requested or not self._stop_requested or member.group != self.launch.pid:
                    procfs.kill(member, signal.SIGKILL)
            await asyncio.sleep(pause_s)
            waited_s += pause_s
            pause_s = min(2 * pause_s, 0.1)
            if self._kill_requested and waited_s > KILL_OVERDUE_S:
                pids = ", ".join(str(member.pid) for member in members)
                log.warning("model %s: killed, but still running: pid %s", self.launch.model, pids)
                waited_s = 0.0
        self._reap_orphans()

    def _reap_orphans(self) -> None:
        """Reap members that have ended and had become children of hotseat."""
        for one in self._known:
            if one.pid != self.launch.pid:
                procfs.reap(one)

    def _reap(self) -> Reason:
        lines = tuple(self.output.tail(LINES_JUDGED))
        try:
            _, status = os.waitpid(self.launch.pid, 0)
        except ChildProcessError:  # not our child: its exit status is not known
            return Reason(
                summary="exited; its exit code is unknown, since an earlier hotseat had started it",
                lines=lines,
            )
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return Reason(summary=f"killed by {procfs.signal_name(-code)}", signal=-code, lines=lines)
        return Reason(summary=f"exited with code {code}", exit_code=code, lines=lines)

    async def stop(self, grace_s: float) -> None:
        """Send SIGTERM, wait ``grace_s``, send SIGKILL; return when every process has ended."""
        if not self._leader_ended.is_set():
            # While the leader lives, all its descendants can be told; afterwards some would be nobody's.
            await asyncio.to_thread(self.members)
        if grace_s > 0 and not self.ended:
            if not self._stop_requested:
                self._stop_requested = True
                self._signal_group(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.end()
        if not self.ended:
            self._stop_requested = True
            self._kill_requested = True
            self._signal_group(signal.SIGKILL)
        await self.end()

    def _signal_group(self, number: signal.Signals) -> None:
        # Until the leader is reaped, its pid names this group; one that is not our child is reaped by others.
        if self._leader_ended.is_set():
            return  # watch() kills what is left
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.launch.pid, number)

    def close(self) -> None:
        """Stop watching; processes go on running."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
