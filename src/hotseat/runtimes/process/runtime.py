"""Runs models as plain processes, each in a session of its own.

A run is a session leader and its descendants. It is identified by pid and start time, never by pid alone, and
is found again after a restart of hotseat by its record and by the marks in its environment
(``launch_records``). It has ended when all of its processes have: a server's workers hold memory too.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec, Program
from hotseat.gate.gate_folder import GateFolder
from hotseat.runtimes.base import FoundRun, Handle, LaunchError, RunExit
from hotseat.runtimes.process import procfs
from hotseat.runtimes.process.gates import Gates, host_mib, set_low_priority
from hotseat.runtimes.process.launch_records import LaunchRecord, LaunchRecords, inherited, marked, owner_of
from hotseat.runtimes.process.log_file import NO_SPACE, LogFile
from hotseat.runtimes.process.ports import free_port
from hotseat.runtimes.process.session import ProcessSession
from hotseat.tasks import Tasks

log = logging.getLogger(__name__)

PORT = "{port}"
READY_CHECK_S = 0.1
"""Seconds between two looks whether a run that is prepared stands by."""
UNKNOWN_END = RunExit(Reason(summary="ended for an unknown reason"))


class ProcessRuntime:
    """The runtime for plain processes."""

    name = "process"

    def __init__(self, state_dir: Path, host: str = "127.0.0.1") -> None:
        """``state_dir`` is locked for one hotseat at a time; servers are expected to listen on ``host``."""
        self._dir = state_dir
        self._host = host
        self._owner = owner_of(state_dir)
        self._records = LaunchRecords(state_dir / "runs")
        self._gates = Gates(state_dir / "gates")
        self._logs = state_dir / "logs"
        self._tasks = Tasks(self._task_failed)
        self._sessions: dict[str, ProcessSession] = {}
        """By the handle's ident; an ended session stays until its model starts again."""
        self._outputs: dict[str, LogFile] = {}
        """Where the output of each model's latest run is."""
        self._lock: int | None = None
        self._unusable_reason: str | None = "the process runtime is not open"

    async def open(self) -> None:
        """Lock the state directory. Where that fails, ``unusable()`` says why."""
        self._unusable_reason = self._take()

    def _take(self) -> str | None:
        procfs.become_subreaper()
        try:
            os.close(os.pidfd_open(os.getpid()))
        except (AttributeError, OSError):
            return "plain processes need Linux 5.3 or newer, with /proc and pidfd_open allowed"
        try:
            for folder in (self._dir, self._logs, self._dir / "runs", self._dir / "gates"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            return (
                f"cannot write to the state directory {self._dir}: {error.strerror}. "
                "Set state_dir to another folder"
            )
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(self._lock)
                self._lock = None
                return (
                    f"the file system of the state directory {self._dir} has no file locks "
                    f"(flock: {error.strerror}), as NFS, 9p and FUSE may not: set state_dir to a folder on a "
                    "local disk"
                )
            holder = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._lock)
            self._lock = None
            return (
                f"another hotseat (pid {holder}) uses the state directory {self._dir}: "
                "stop it, or give this one a state_dir of its own"
            )
        with suppress(OSError):  # serves the message above only
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        return None

    async def close(self) -> None:
        """Unlock the state directory; processes go on running."""
        self._unusable_reason = "the process runtime is closed"
        await self._tasks.close()
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        for output in self._outputs.values():
            output.close()
        self._outputs.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def unusable(self) -> str | None:
        """Return why nothing can be started, for people; ``None``: usable."""
        return self._unusable_reason

    async def recover(self, models: dict[str, ModelSpec]) -> list[FoundRun]:
        """Return the runs that an earlier hotseat left, at most one for each model; others are killed."""
        if self._unusable_reason is not None:
            return []
        known = {launch.launch: launch for launch in self._records.all()}
        recorded = set(known)
        for launch in await asyncio.to_thread(marked, self._owner):
            known.setdefault(launch.launch, launch)
        mine = {session.launch.launch for session in self._sessions.values()}
        rest = [launch for launch in known.values() if launch.launch not in mine]
        # Recorded launches first, then the latest.
        rest.sort(key=lambda launch: (launch.launch in recorded, launch.start), reverse=True)
        busy = {session.launch.model for session in self._sessions.values() if not session.ended}
        found = []
        for launch in rest:
            spec = models.get(launch.model)
            usable = spec is not None and spec.launch.program is not None and launch.model not in busy
            if usable and launch.leader() is not None and (session := self._open(launch)) is not None:
                session.output.attach(launch.pid, procfs.started_s(launch.start))
                busy.add(launch.model)
                self._record(launch)
                gate = self._gates.of(launch.launch)
                stands_by = gate.exists and not gate.opened
                found.append(FoundRun(session.handle, launch.fingerprint, stands_by=stands_by))
            else:
                await self._kill_leftovers(launch)
        self._gates.remove_others({session.launch.launch for session in self._sessions.values()})
        return found

    async def _kill_leftovers(self, launch: LaunchRecord) -> None:
        """Kill all processes of a launch that no model can use."""
        pause_s = 0.005
        while members := await asyncio.to_thread(launch.members):
            log.warning("removing %d left-over process(es) of model %s", len(members), launch.model)
            for member in members:
                procfs.kill(member, signal.SIGKILL)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.5)
        self._records.remove(launch)

    async def start(self, model: ModelSpec, run: int) -> Handle:
        """Launch the model's program; ``{port}`` in its command and ``env`` is replaced by a free port.

        Raises ``LaunchError``.
        """
        return await self._launch(model, run, opened=True)

    async def prepare(self, model: ModelSpec, run: int, *, low_priority: bool = False) -> Handle:
        """Launch the model's program behind a closed gate. Raises ``LaunchError``."""
        handle = await self._launch(model, run, opened=False)
        if low_priority and (leader := self._sessions[handle.ident].launch.leader()) is not None:
            set_low_priority([leader], low=True)
        return handle

    async def prepared(self, handle: Handle) -> int | None:
        """Return when one of the run's processes stands at the gate; the MiB that all of them take."""
        session = self._sessions[handle.ident]
        gate = self._gates.of(session.launch.launch)
        while True:
            if gate.read().ready:
                break
            await asyncio.sleep(READY_CHECK_S)
        return await asyncio.to_thread(lambda: host_mib(session.launch.members()))

    async def admit(self, handle: Handle) -> None:
        """Open the run's gate. Raises ``LaunchError``."""
        session = self._sessions[handle.ident]
        try:
            self._gates.of(session.launch.launch).open()
        except OSError as error:
            summary = f"its gate could not be opened: {error.strerror}"
            raise LaunchError(Reason(summary=summary)) from error
        set_low_priority(await asyncio.to_thread(session.launch.members), low=False)

    def gate_seen(self, handle: Handle) -> bool:
        """Return whether the run has passed its gate, and remember it."""
        session = self._sessions.get(handle.ident)
        if session is None or not self._gates.of(session.launch.launch).read().passed:
            return False
        self._gates.known.remember(session.launch.model, session.launch.fingerprint)
        return True

    def known_gates(self) -> Mapping[str, str]:
        """Return, by model, the fingerprint of the latest launch that knew its gate."""
        return self._gates.known.all()

    async def _launch(self, model: ModelSpec, run: int, *, opened: bool) -> Handle:
        """Launch the model's program. Raises ``LaunchError``.

        There is no await from the launch to its record, so a cancellation cannot come between them.
        """
        if self._unusable_reason is not None:
            raise LaunchError(Reason(summary=self._unusable_reason))
        program = model.launch.program
        if program is None:
            raise TypeError(f"{model.name} has no program to run: {type(model.launch).__name__}")
        if not any(PORT in text for text in (*program.command, *program.env.values())):
            raise _permanent(
                f"the command of {model.name} has no {PORT}", "write it where the server takes its port"
            )
        try:
            port = free_port(self._host, {session.handle.port for session in self._sessions.values()})
        except OSError as error:
            raise LaunchError(Reason(summary=f"no free port on {self._host}: {error.strerror}")) from error
        launch = LaunchRecord(
            launch=uuid.uuid4().hex,
            model=model.name,
            run=run,
            port=port,
            fingerprint=model.scheduling.fingerprint,
            boot=procfs.boot_id(),
        )
        for ident in [i for i, one in self._sessions.items() if one.launch.model == model.name and one.ended]:
            del self._sessions[ident]
        gate = self._make_gate(model, launch, opened=opened)
        try:
            pid = self._spawn(program, launch, model.withheld, gate)
        except LaunchError:
            self._gates.of(launch.launch).remove()
            raise
        # A child that was not reaped yet, so it has an entry even if it has ended.
        born = procfs.stat(pid)
        launch = replace(launch, pid=pid, start=born.start if born else 0)
        self._record(launch)
        try:
            session = self._open(launch)
        except OSError as error:  # out of descriptors
            os.killpg(pid, signal.SIGKILL)
            await asyncio.to_thread(os.waitpid, pid, 0)
            self._records.remove(launch)
            raise LaunchError(
                Reason(summary=f"the new process could not be watched: {error.strerror}")
            ) from error
        if session is None:
            raise LaunchError(Reason(summary="the new process ended before it could be watched"))
        return session.handle

    def _make_gate(self, model: ModelSpec, launch: LaunchRecord, *, opened: bool) -> GateFolder | None:
        """Make the launch's gate. An open one is not needed for the start. Raises ``LaunchError``."""
        try:
            return self._gates.make(launch.launch, model.scheduling.standby, opened=opened)
        except OSError as error:
            if not opened:
                summary = f"its gate could not be made: {error.strerror}"
                raise LaunchError(Reason(summary=summary)) from error
            log.warning("model %s starts without a gate: %s", model.name, error)
            return None

    def _spawn(
        self, program: Program, launch: LaunchRecord, withheld: Collection[str], gate: GateFolder | None
    ) -> int:
        port = str(launch.port)
        command = [word.replace(PORT, port) for word in program.command]
        env = inherited(withheld)
        env.setdefault("PYTHONUNBUFFERED", "1")  # output to a file would otherwise be buffered
        # setproctitle, with which vLLM names its workers, would otherwise overwrite the marks.
        env.setdefault("SPT_NOENV", "1")
        env.update({name: value.replace(PORT, port) for name, value in program.env.items()})
        env.update(launch.marks(self._owner))
        if gate is not None:
            env.update(gate.environment(env.get("PYTHONPATH")))
        if (earlier := self._outputs.get(launch.model)) is not None:
            earlier.close()
        output, self._outputs[launch.model] = self._output(launch.model)
        try:
            child = subprocess.Popen(
                command,
                cwd=program.cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=procfs.become_subreaper,
            )
        except (OSError, ValueError) as error:
            raise _launch_error(command[0], program.cwd, env, error) from error
        finally:
            if output != subprocess.DEVNULL:
                os.close(output)
        # The session reaps it when all its processes have ended; Popen must not.
        child.returncode = 0
        return child.pid

    def _output(self, model: str) -> tuple[int, LogFile]:
        """Return a descriptor for a run's output, and where that is.

        A full or read-only disk prevents no start: the output goes to the folder for temporary files then,
        or nowhere. A server that cannot write its output may die of it.
        """
        kept = LogFile(self._logs, model)
        try:
            return kept.begin(), kept
        except OSError as error:
            why, is_full = error.strerror, error.errno in NO_SPACE
        if is_full:
            with suppress(OSError):
                spare = LogFile(self._spare_logs(), model)
                output = spare.begin()
                log.warning("the output of model %s goes to %s: %s: %s", model, spare.path, self._logs, why)
                return output, spare
        log.warning("the output of model %s is not kept: %s: %s", model, self._logs, why)
        return subprocess.DEVNULL, kept

    def _spare_logs(self) -> Path:
        """Return a private folder below the one for temporary files. Raises ``OSError``."""
        folder = Path(tempfile.gettempdir(), f"hotseat-{self._owner}-{os.geteuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError(errno.EPERM, "belongs to somebody else", str(folder))
        return folder

    def _record(self, launch: LaunchRecord) -> None:
        try:
            self._records.write(launch)
        except OSError as error:  # it can still be found by its marks
            log.warning("no record of the run of model %s was written: %s", launch.model, error)

    def _open(self, launch: LaunchRecord) -> ProcessSession | None:
        """Watch a launch to its end; ``None``: its leader has ended."""
        try:
            session = ProcessSession(launch, self._host, self._log_of(launch.model))
        except ProcessLookupError:
            return None
        self._sessions[session.handle.ident] = session
        self._tasks.start(f"watch {launch.model} run {launch.run}", self._watch(session))
        return session

    async def _watch(self, session: ProcessSession) -> None:
        await session.watch()
        self._records.remove(session.launch)
        self._gates.of(session.launch.launch).remove()

    async def wait(self, handle: Handle) -> RunExit:
        """Return when every process of the run has ended."""
        session = self._sessions.get(handle.ident)
        return await session.end() if session else UNKNOWN_END

    async def stop(self, handle: Handle, grace_s: float) -> None:
        """Send SIGTERM to its group, SIGKILL to all its processes after ``grace_s``; return at their end."""
        if (session := self._sessions.get(handle.ident)) is not None:
            await session.stop(grace_s)

    async def lines(self, handle: Handle, last: int | None = None) -> AsyncIterator[str]:
        """Yield the run's output from its start or its ``last`` lines; ends when the run has ended."""
        if (session := self._sessions.get(handle.ident)) is not None:
            async for line in session.output.follow(lambda: session.ended, last):
                yield line

    async def tail(self, model: str, count: int) -> list[str]:
        """Return the last lines of the model's current or latest run."""
        return self._log_of(model).tail(count)

    def _log_of(self, model: str) -> LogFile:
        return self._outputs.setdefault(model, LogFile(self._logs, model))

    async def watch(self) -> AsyncIterator[FoundRun]:
        """Yield nothing: only hotseat starts its processes."""
        return
        yield

    def _task_failed(self, name: str, error: BaseException) -> None:
        log.error("task %r failed", name, exc_info=error)


def _permanent(summary: str, hint: str | None = None) -> LaunchError:
    return LaunchError(Reason(summary=summary, hint=hint, permanent=True))


def _launch_error(program: str, cwd: str | None, env: Mapping[str, str], error: Exception) -> LaunchError:
    """Return why a program could not be run, for people."""
    if not isinstance(error, OSError):
        return _permanent(f"cannot run {program!r}: {error}")
    if cwd is not None and not os.path.isdir(cwd):
        return _permanent(f"working directory not found: {cwd}", "set cwd to a folder that exists")
    here = shutil.which(program, mode=os.F_OK, path=env.get("PATH"))
    match error.errno:
        case errno.ENOENT if here is not None:
            return _permanent(
                f"the interpreter of {program} was not found",
                "correct the first line of the script (#!), or install the interpreter",
            )
        case errno.ENOENT | errno.ENOTDIR:
            return _permanent(f"command not found: {program}")
        case errno.EACCES:
            return _permanent(f"not executable: {program}")
        case errno.ENOEXEC:
            return _permanent(f"not a program: {program}")
    return LaunchError(Reason(summary=f"cannot run {program}: {error.strerror}"))
