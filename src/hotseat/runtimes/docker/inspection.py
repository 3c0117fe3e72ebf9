"""What an inspected container tells: whether it runs, since when, why it ended, what it was told to do."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hotseat.core.errors import Reason
from hotseat.runtimes.base import Mounts, RunExit

_KNOWN = (
    (
        "could not select device driver",
        "install the NVIDIA container toolkit and run: nvidia-ctk runtime configure --runtime=docker",
        True,
    ),
    ("nvidia-container-cli", "the driver is not visible to containers: see nvidia-smi on the host", False),
    ("port is already allocated", "another container publishes the same port", False),
    ("address already in use", "another program listens on the published port", False),
    ("executable file not found", "the image does not have the program that the command names", True),
    ("no such image", "pull or build the image first", True),
)
"""Parts of the engine's errors, what to do about them, and whether waiting is in vain."""
_DELIBERATE = {signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGQUIT}
_FRACTION = re.compile(r"\.(\d+)")
_FIRST_LINES_NS = 2 * 10**9
_STOP_LASTS_S = 600.0
"""A signal sent through the engine explains an end within this time: ``docker stop -t 600``."""
_OOM_LASTS_S = 60.0
_ENGINE_STOPS_WITH = {0, 128 + signal.SIGTERM, 128 + signal.SIGKILL}


class DockerUnavailable(Exception):
    """The Docker Engine cannot be asked now; the message says why, and what to do."""


class DockerError(Exception):
    """The Docker Engine said no, in its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class EventEvidence:
    """What the event stream told of a run, for the reason of its end. Times are the engine's, in seconds."""

    signal: int | None = None
    signalled_at: float = 0.0
    exit_code: int | None = None
    died_at: float | None = None
    oom_at: float | None = None
    unseen: bool = False
    """The engine was away, so that events may be missing."""

    def deliberate(self) -> bool:
        """Somebody sent a signal that ends servers, not long before the end."""
        if self.signal is None or self.signal not in _DELIBERATE:
            return False
        return self.died_at is None or self.died_at - self.signalled_at <= _STOP_LASTS_S

    def out_of_memory(self) -> bool:
        """Some process of it was killed for want of memory, and the rest soon followed."""
        if self.oom_at is None:
            return False
        return self.died_at is None or self.died_at - self.oom_at <= _OOM_LASTS_S


def is_running(found: Mapping[str, Any]) -> bool:
    """It has a process (paused ones have); between two tries of a restart policy it has none."""
    state = found["State"]
    return bool(state["Running"]) and not state.get("Restarting")


def is_paused(found: Mapping[str, Any]) -> bool:
    """It is frozen: it holds its memory and answers nothing."""
    return bool(found["State"].get("Paused"))


def ident(found: Mapping[str, Any]) -> str:
    """One start of one container: its id, and when it was started."""
    return f"{found['Id']}@{found['State']['StartedAt']}"


def has_memory_limit(found: Mapping[str, Any]) -> bool:
    """The engine limits its memory, and so may kill it for want of it."""
    return bool(found["HostConfig"].get("Memory"))


def log_since(found: Mapping[str, Any], earlier: Mapping[str, Any] | None = None) -> str | None:
    """From when on its log is this start's, as the log API takes times; ``None``: it never started.

    A start is dated a little after its first line may have been written, so the end of the start before
    is the better mark. ``earlier``: the container as it was before this start, where that is known; one
    that has ended since knows its latest end alone.
    """
    ended = (earlier or found)["State"]["FinishedAt"]
    started, before = _epoch(found["State"]["StartedAt"]), _epoch(ended)
    if started <= 0:
        return None
    since = before if started - _FIRST_LINES_NS < before < started else started - _FIRST_LINES_NS
    return f"{since // 10**9}.{since % 10**9:09}"


def started_s(run: str) -> float:
    """When this run (an ``ident``) began, in the engine's seconds."""
    return _epoch(run.partition("@")[2]) / 1e9


def _epoch(text: str) -> int:
    """RFC 3339 to nanoseconds of the epoch; the engine's "never" is the year 1."""
    fraction = match[1] if (match := _FRACTION.search(text)) else "0"
    whole = datetime.fromisoformat(_FRACTION.sub("", text).replace("Z", "+00:00"))
    return int(whole.timestamp()) * 10**9 + int(fraction.ljust(9, "0")[:9])


def command(found: Mapping[str, Any]) -> tuple[str, ...]:
    """The whole command line: entrypoint and command."""
    return (str(found["Path"]), *map(str, found.get("Args") or ()))


def mounts(found: Mapping[str, Any]) -> Mounts:
    """Its environment, and the host's folders that it sees; a named volume is one of the engine's."""
    env = dict(str(one).split("=", 1) for one in found["Config"].get("Env") or () if "=" in str(one))
    folders = {str(one["Destination"]): str(one["Source"]) for one in found.get("Mounts") or ()}
    return Mounts(env, folders)


def mounts_of_service(service: Mapping[str, Any]) -> Mounts:
    """The same of a service that has no container yet; its named volumes are not known."""
    env = {
        name: str(value) for name, value in (service.get("environment") or {}).items() if value is not None
    }
    binds = [one for one in service.get("volumes") or () if one.get("type") == "bind"]
    return Mounts(env, {str(one["target"]).rstrip("/"): str(one["source"]) for one in binds})


def image(found: Mapping[str, Any]) -> str:
    """The image that it was made from: its name then, and what it is."""
    return f"{found['Config'].get('Image')} ({found.get('Image')})"


def grace_s(found: Mapping[str, Any]) -> float | None:
    """Its own time to stop (``stop_grace_period``), where it has one."""
    seconds = found["Config"].get("StopTimeout")
    return None if seconds is None else float(seconds)


def why(
    run: str,
    found: Mapping[str, Any] | None,
    evidence: EventEvidence,
    *,
    ordered: bool,
    lines: tuple[str, ...],
) -> RunExit:
    """The end of a run. ``found`` is its container now, if it is still there; ``ordered``: by us."""
    state = found["State"] if found is not None and ident(found) == run else {}
    code = evidence.exit_code if evidence.exit_code is not None else state.get("ExitCode")
    oom = evidence.out_of_memory() or bool(state.get("OOMKilled"))
    number = code - 128 if code is not None and code > 128 else None
    unseen = evidence.unseen and evidence.died_at is None
    away = unseen and code in (None, *_ENGINE_STOPS_WITH)
    outside = not ordered and not oom and (evidence.deliberate() or away)

    def reason(summary: str, hint: str | None = None) -> Reason:
        return Reason(summary=summary, hint=hint, exit_code=code, signal=number, oom=oom, lines=lines)

    if oom:
        told = reason(
            "killed: out of host memory",
            "raise the container's memory limit (mem_limit), or the machine's",
        )
    elif ordered:
        told = reason("stopped")
    elif evidence.deliberate():
        removed = found is None and evidence.died_at is None
        told = reason(
            "its container was removed by somebody else"
            if removed
            else "its container was stopped by somebody else"
        )
    elif away:
        told = reason("its container was stopped while the Docker Engine was away")
    elif state.get("Error"):
        told = reason(str(state["Error"]))
    elif number is not None:
        told = reason(f"killed by signal {number} ({_name(number)})")
    else:
        told = reason("ended, and nothing is known of why" if code is None else f"exited with code {code}")
    return RunExit(told, outside=outside)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def why_not(error: Exception) -> Reason:
    """Why a container could not be started, with what to do where the engine's words are known."""
    said = str(error)
    if isinstance(error, DockerUnavailable):
        return Reason(summary=said)
    for part, hint, permanent in _KNOWN:
        if part in said.lower():
            return Reason(summary=f"the Docker Engine says: {said}", hint=hint, permanent=permanent)
    return Reason(summary=f"the Docker Engine says: {said}")
