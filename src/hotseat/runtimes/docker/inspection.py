"""Reads ``docker inspect``: whether a container runs, since when, why it ended, its command and mounts."""

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
"""Parts of the engine's error messages, what to do, and whether trying again cannot help."""
_DELIBERATE = {signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGQUIT}
_FRACTION = re.compile(r"\.(\d+)")
_FIRST_LINES_NS = 2 * 10**9
_STOP_LASTS_S = 600.0
"""A signal sent through the engine explains an end within so many seconds: ``docker stop -t 600``."""
_OOM_LASTS_S = 60.0
_ENGINE_STOPS_WITH = {0, 128 + signal.SIGTERM, 128 + signal.SIGKILL}


class DockerUnavailable(Exception):
    """Raised when the Docker Engine cannot be reached; the message says why, and what to do."""


class DockerError(Exception):
    """Raised when the Docker Engine refuses a request, with its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class EventEvidence:
    """Events of a run that explain its end. Times are in seconds, by the engine's clock."""

    signal: int | None = None
    signalled_at: float = 0.0
    exit_code: int | None = None
    died_at: float | None = None
    oom_at: float | None = None
    events_missed: bool = False
    """Whether the connection was cut, so that events may be missing."""

    def deliberate(self) -> bool:
        """Whether a signal that ends servers was sent not long before the end."""
        if self.signal is None or self.signal not in _DELIBERATE:
            return False
        return self.died_at is None or self.died_at - self.signalled_at <= _STOP_LASTS_S

    def out_of_memory(self) -> bool:
        """Whether the OOM killer ended one of its processes not long before the end."""
        if self.oom_at is None:
            return False
        return self.died_at is None or self.died_at - self.oom_at <= _OOM_LASTS_S


def is_running(found: Mapping[str, Any]) -> bool:
    """Whether the container has a process (a paused one has; one that waits for its restart has none)."""
    state = found["State"]
    return bool(state["Running"]) and not state.get("Restarting")


def is_paused(found: Mapping[str, Any]) -> bool:
    """Whether the container is paused: it holds its memory and does not answer."""
    return bool(found["State"].get("Paused"))


def ident(found: Mapping[str, Any]) -> str:
    """Return the identity of one start of one container: ``ID@STARTED_AT``."""
    return f"{found['Id']}@{found['State']['StartedAt']}"


def has_memory_limit(found: Mapping[str, Any]) -> bool:
    """Whether the container has a memory limit."""
    return bool(found["HostConfig"].get("Memory"))


def log_since(
    found: Mapping[str, Any], earlier: Mapping[str, Any] | None = None, died_at: float | None = None
) -> str | None:
    """Return when this start's log begins, as the log API takes times; ``None``: it never started.

    The engine dates a start a little after its first line may have been written, so the end of the previous
    start is the better bound. ``earlier``: the container as it was before this start, where that is known;
    once this start has ended, ``found`` holds its own end only. ``died_at``: the previous start's die event,
    in Unix time; it comes when the engine has read the last line, which may be dated after the process's end.
    """
    ended = (earlier or found)["State"]["FinishedAt"]
    started, before = _epoch(found["State"]["StartedAt"]), _epoch(ended)
    if started <= 0:
        return None
    ends = (before, 0 if died_at is None else round(died_at * 1e6) * 1000)
    since = max(end for end in (*ends, started - _FIRST_LINES_NS) if end < started)
    return f"{since // 10**9}.{since % 10**9:09}"


def started_s(run: str) -> float:
    """Return when this run (an ``ident``) began, in Unix time by the engine's clock."""
    return _epoch(run.partition("@")[2]) / 1e9


def _epoch(text: str) -> int:
    """Return an RFC 3339 time as nanoseconds of Unix time; the engine writes "never" as the year 1."""
    fraction = match[1] if (match := _FRACTION.search(text)) else "0"
    whole = datetime.fromisoformat(_FRACTION.sub("", text).replace("Z", "+00:00"))
    return int(whole.timestamp()) * 10**9 + int(fraction.ljust(9, "0")[:9])


def command(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the whole command line: entrypoint and command."""
    return (str(found["Path"]), *map(str, found.get("Args") or ()))


def mounts(found: Mapping[str, Any]) -> Mounts:
    """Return the environment and the mounted host folders; a named volume is a folder of the engine's."""
    env = dict(str(one).split("=", 1) for one in found["Config"].get("Env") or () if "=" in str(one))
    folders = {str(one["Destination"]): str(one["Source"]) for one in found.get("Mounts") or ()}
    return Mounts(env, folders)


def mounts_of_service(service: Mapping[str, Any]) -> Mounts:
    """Return the same for a Compose service without a container; its named volumes are not known."""
    env = {
        name: str(value) for name, value in (service.get("environment") or {}).items() if value is not None
    }
    binds = [one for one in service.get("volumes") or () if one.get("type") == "bind"]
    return Mounts(env, {str(one["target"]).rstrip("/"): str(one["source"]) for one in binds})


def image(found: Mapping[str, Any]) -> str:
    """Return the image that the container was created from: its name then, and its digest."""
    return f"{found['Config'].get('Image')} ({found.get('Image')})"


def grace_s(found: Mapping[str, Any]) -> float | None:
    """Return the container's ``stop_grace_period`` in seconds; ``None``: not set."""
    seconds = found["Config"].get("StopTimeout")
    return None if seconds is None else float(seconds)


def exit_of(
    run: str,
    found: Mapping[str, Any] | None,
    evidence: EventEvidence,
    *,
    stop_requested: bool,
    lines: tuple[str, ...],
) -> RunExit:
    """Return the end of a run and its reason.

    ``found``: its container now, if it still exists. ``stop_requested``: whether hotseat has stopped it.
    """
    state = found["State"] if found is not None and ident(found) == run else {}
    code = evidence.exit_code if evidence.exit_code is not None else state.get("ExitCode")
    oom = evidence.out_of_memory() or bool(state.get("OOMKilled"))
    number = code - 128 if code is not None and code > 128 else None
    events_missed = evidence.events_missed and evidence.died_at is None
    away = events_missed and code in (None, *_ENGINE_STOPS_WITH)
    outside = not stop_requested and not oom and (evidence.deliberate() or away)

    def reason(summary: str, hint: str | None = None) -> Reason:
        return Reason(summary=summary, hint=hint, exit_code=code, signal=number, oom=oom, lines=lines)

    if oom:
        cause = reason(
            "killed: out of host memory",
            "raise the container's memory limit (mem_limit), or the machine's",
        )
    elif stop_requested:
        cause = reason("stopped")
    elif evidence.deliberate():
        removed = found is None and evidence.died_at is None
        cause = reason(
            "its container was removed by somebody else"
            if removed
            else "its container was stopped by somebody else"
        )
    elif away:
        cause = reason("its container was stopped while the Docker Engine was unreachable")
    elif state.get("Error"):
        cause = reason(str(state["Error"]))
    elif number is not None:
        cause = reason(f"killed by signal {number} ({_name(number)})")
    else:
        cause = reason("ended for an unknown reason" if code is None else f"exited with code {code}")
    return RunExit(cause, outside=outside)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def launch_failure(error: Exception) -> Reason:
    """Return why a container could not be started, with what to do where the engine's message is known."""
    message = str(error)
    if isinstance(error, DockerUnavailable):
        return Reason(summary=message)
    for part, hint, permanent in _KNOWN:
        if part in message.lower():
            return Reason(summary=f"the Docker Engine says: {message}", hint=hint, permanent=permanent)
    return Reason(summary=f"the Docker Engine says: {message}")
