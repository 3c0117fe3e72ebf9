"""Records of launched processes, by which the next hotseat finds them.

Each launch is recorded twice, since either record can be missing: in a file for each model under
``state_dir/runs`` (not yet written when hotseat is killed right after the launch), and in the environment of
the processes themselves (overwritten by servers that change their title, as vLLM does).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from hotseat.runtimes.process import procfs

PREFIX = "HOTSEAT_"
OWNER, LAUNCH = PREFIX + "OWNER", PREFIX + "LAUNCH"

PRIVATE = frozenset(
    {
        "VLLM_API_KEY",
        "VLLM_API_KEY_OLD",
        "VLLM_API_KEY_OLD_UNTIL",
        "UPSTREAM_API_KEY",
        "ADMIN_API_KEY",
        "TUNNEL_TOKEN",
        # Credentials of a trace collector.
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        # Addressed by the service manager to hotseat, not to its children.
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
    }
)
"""Variables of hotseat's own environment that a server gets only where its own ``env`` sets them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRecord:
    """One launch of a model as a process."""

    launch: str
    """A unique id."""
    model: str
    run: int
    port: int
    fingerprint: str
    pid: int = 0
    start: int = 0
    """Start time of the session leader ``pid`` (``procfs.Stat.start``)."""
    boot: str = ""

    def marks(self, owner: str) -> dict[str, str]:
        """Return the environment variables that mark its processes."""
        return {
            OWNER: owner,
            LAUNCH: self.launch,
            PREFIX + "MODEL": self.model,
            PREFIX + "RUN": str(self.run),
            PREFIX + "PORT": str(self.port),
            PREFIX + "FINGERPRINT": self.fingerprint,
        }

    def leader(self) -> procfs.Stat | None:
        """Return the process that was launched; ``None``: it has ended."""
        one = procfs.stat(self.pid) if self.boot == procfs.boot_id() else None
        return one if one is not None and one.start == self.start and not one.ended else None

    def members(
        self, known: Collection[procfs.Stat] = (), orphan: Callable[[procfs.Stat], bool] | None = None
    ) -> list[procfs.Stat]:
        """Return its running processes, and all that these have launched.

        They are its session and group, those that left them but bear its mark, those in ``known`` (members
        at an earlier look), and children of this process that ``orphan`` recognizes.
        """
        if self.boot != procfs.boot_id():
            return []
        leader = procfs.stat(self.pid)
        # A pid is not reused while a session or group of that number has members: if another process has
        # it, the session is empty.
        reused = leader is not None and leader.start != self.start
        earlier = {(one.pid, one.start) for one in known}
        me = os.getpid()

        def belongs(one: procfs.Stat) -> bool:
            if self.pid and not reused and self.pid in (one.session, one.group):
                return True
            if (one.pid, one.start) in earlier or self._is_marked(one):
                return True
            return orphan is not None and one.parent == me and orphan(one)

        running = procfs.processes(lambda one: True, since=self.start)
        found = [one for one in running if belongs(one)]
        if leader is not None and not reused and not any(one.pid == self.pid for one in found):
            return found + procfs.descendants([leader, *found], running)
        return found + procfs.descendants(found, running)

    def _is_marked(self, one: procfs.Stat) -> bool:
        """Whether a process bears this launch's mark, and is of a user who can have it from us."""
        if procfs.environ(one.pid).get(LAUNCH) != self.launch:
            return False
        return procfs.owner(one.pid) in (os.geteuid(), procfs.owner(self.pid))


def owner_of(state_dir: Path) -> str:
    """Return the mark of all processes that belong to this state directory.

    A hash of its path, so that orphans of a deleted directory are still recognized.
    """
    return hashlib.sha256(os.fsencode(state_dir.resolve())).hexdigest()[:16]


def inherited(withheld: Collection[str] = ()) -> dict[str, str]:
    """Return hotseat's own environment without its private variables and those in ``withheld``."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in PRIVATE and name not in withheld and not name.startswith(PREFIX)
    }


def marked(owner: str) -> list[LaunchRecord]:
    """Return the launches of this owner, read from the environment of running processes.

    A launch whose leader is not among them has pid 0.
    """
    launches: dict[str, LaunchRecord] = {}
    boot = procfs.boot_id()
    for one in procfs.processes(lambda one: one.pid != os.getpid()):
        marks = procfs.environ(one.pid)
        if marks.get(OWNER) != owner or LAUNCH not in marks:
            continue
        if procfs.owner(one.pid) != os.geteuid():
            continue  # anybody can have such variables: without a record they prove nothing
        leads = one.pid == one.session
        if marks[LAUNCH] in launches and not leads:
            continue
        with suppress(KeyError, ValueError):
            launch = LaunchRecord(
                launch=marks[LAUNCH],
                model=marks[PREFIX + "MODEL"],
                run=int(marks[PREFIX + "RUN"]),
                port=int(marks[PREFIX + "PORT"]),
                fingerprint=marks[PREFIX + "FINGERPRINT"],
                boot=boot,
                pid=one.pid if leads else 0,
                start=one.start if leads else 0,
            )
            known = launches.get(launch.launch)
            # Of two session leaders the older one was launched; the other left its session by setsid.
            if known is None or known.pid == 0 or launch.start < known.start:
                launches[launch.launch] = launch
    return list(launches.values())


class LaunchRecords:
    """The files under ``state_dir/runs``, one for each launch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, model: str) -> Path:
        return self._folder / f"{quote(model, safe='')}.json"

    def write(self, launch: LaunchRecord) -> None:
        """Write the record atomically. Raises ``OSError``."""
        path = self._path(launch.model)
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with open(fresh, "x", encoding="utf-8", opener=_private) as file:
            file.write(json.dumps(asdict(launch), indent=1))
        fresh.replace(path)

    def remove(self, launch: LaunchRecord) -> None:
        """Delete the record, unless the file holds another launch by now."""
        path = self._path(launch.model)
        if (known := _read(path)) is not None and known.launch == launch.launch:
            path.unlink(missing_ok=True)

    def all(self) -> list[LaunchRecord]:
        """Return all recorded launches; an unreadable file is deleted (the marks of the processes remain)."""
        launches = []
        for path in sorted(self._folder.glob("*.json")):
            if (launch := _read(path)) is not None:
                launches.append(launch)
            else:
                path.unlink(missing_ok=True)
        return launches


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read(path: Path) -> LaunchRecord | None:
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                return None  # somebody else's word
            data = json.loads(file.read())
        launch = LaunchRecord(**data)
    except (OSError, ValueError, TypeError):
        return None
    return launch if _is_valid(launch) else None


def _is_valid(launch: LaunchRecord) -> bool:
    words = (launch.launch, launch.model, launch.fingerprint, launch.boot)
    numbers = (launch.run, launch.port, launch.pid, launch.start)
    sound = all(isinstance(word, str) for word in words) and all(isinstance(n, int) for n in numbers)
    return sound and launch.pid > 1
