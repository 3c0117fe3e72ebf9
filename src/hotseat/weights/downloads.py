"""``seed: auto``: finds out whether a model's files are there, and downloads them before its first start."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec, Program
from hotseat.core.views import Progress
from hotseat.engines import flags
from hotseat.runtimes.base import ReportsCommands, ReportsMounts, Runtime
from hotseat.runtimes.process.launch_records import inherited
from hotseat.weights.wanted import (
    WantedFiles,
    files_are_here,
    hub_folder,
    model_folder,
    model_of_command,
    of_command,
    snapshot,
    weights_in,
)

log = structlog.get_logger("hotseat")

TERM_GRACE_S = 5.0
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Variables that are meant for the servers and must not stop a download."""
_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class WeightLocation:
    """The wanted files, and the hub's cache folder that the server will read."""

    wanted: WantedFiles
    folder: Path


def missing_weights(model: ModelSpec) -> WeightLocation | None:
    """Return the files that a program's model lacks, and where they belong; ``None``: none, or not known."""
    program = model.launch.program
    place = _location_of(program, model.engine) if program is not None else None
    return None if place is None or files_are_here(place.folder, place.wanted) else place


def _location_of(program: Program, engine: str) -> WeightLocation | None:
    """Return where a program looks for its model's files; ``None``: its command names no hub model."""
    words, env = program.command, {**inherited(), **program.env}
    wanted = of_command(words) if engine == "vllm" else None
    own = flags.value(flags.words(words), "--download-dir")
    folder = Path(os.path.join(os.getcwd(), program.cwd or "", own)) if own else hub_folder(None, env)
    return WeightLocation(wanted, folder) if wanted else None


class WeightDownloader:
    """Checks for files and downloads them; at most one download for each location at a time."""

    def __init__(
        self, runtimes: Callable[[], Mapping[str, Runtime]], env: Callable[[], Mapping[str, str]]
    ) -> None:
        """``env()`` is read for HF_TOKEN and the like at each download, so a new token needs no restart."""
        self._runtimes, self._env = runtimes, env
        self._locks: dict[WeightLocation, asyncio.Lock] = {}
        self._listeners: dict[WeightLocation, list[Callable[[Progress], None]]] = {}

    async def are_here(self, model: ModelSpec) -> bool:
        """Whether nothing has to be downloaded: all files are there, or the model is not from a hub."""
        place = await self._locate(model)
        if place is None:
            return True
        return not isinstance(place, Reason) and await _look(place)

    async def arrived_bytes(self, model: ModelSpec) -> int | None:
        """Return the size of a model's files in the cache while some are missing; ``None``: none is."""
        place = await self._locate(model)
        if not isinstance(place, WeightLocation) or await _look(place):
            return None
        return await asyncio.to_thread(_size_of, model_folder(place.folder, place.wanted))

    async def download(self, model: ModelSpec, report: Callable[[Progress], None]) -> Reason | None:
        """Download what is missing; return ``None``, or the reason of a failure.

        When cancelled, the download process has ended.
        """
        place = await self._locate(model)
        if not isinstance(place, WeightLocation):
            return place
        listeners = self._listeners.setdefault(place, [])
        listeners.append(report)
        try:
            async with self._locks.setdefault(place, asyncio.Lock()):
                return None if await _look(place) else await self._fetch(model, place)
        finally:
            listeners.remove(report)

    async def weight_files(self, model: ModelSpec) -> list[Path]:
        """Return the model's weight files as far as they are there, in the order of their names.

        None where the command names neither a folder nor a hub model.
        """
        program = model.launch.program
        named = model_of_command(program.command) if program is not None and model.engine == "vllm" else None
        if program is not None and named is not None and (own := Path(program.cwd or "", named)).is_dir():
            return await asyncio.to_thread(weights_in, own)
        place = await self._locate(model)
        if not isinstance(place, WeightLocation):
            return []
        return await asyncio.to_thread(weights_in, snapshot(place.folder, place.wanted))

    # where

    async def _locate(self, model: ModelSpec) -> WeightLocation | Reason | None:
        """Return where the files belong, or why that is unknown; ``None``: the command names no hub model."""
        program = model.launch.program
        if program is not None:
            return _location_of(program, model.engine)
        runtime = self._runtimes().get(model.runtime)
        if not isinstance(runtime, ReportsCommands) or not isinstance(runtime, ReportsMounts):
            return None
        command = await runtime.command_of(model)
        mounts = await runtime.mounts_of(model)
        if command is None or mounts is None:
            return Reason(
                summary="its container cannot be inspected now, so the files it needs are not known"
            )
        wanted = of_command(command)
        if wanted is None:
            return None
        own = flags.value(flags.words(command), "--download-dir")
        inside = Path(own) if own else hub_folder(None, {"HF_HOME": "/root/.cache/huggingface", **mounts.env})
        folder = mounts.host_path(inside)
        if folder is None:
            return Reason(
                summary=f"{inside} in its container is not mounted from the host: a download would be lost",
                hint="mount a cache folder there, or set HF_HOME to one that is mounted",
                permanent=True,
            )
        if not await asyncio.to_thread(_is_reachable, folder):
            return Reason(
                summary=f"the launcher cannot see {folder}, the cache folder of its container",
                hint="mount it into the launcher at the same path (docker-compose.seed.yml), or run on the "
                f"host: hotseat seed {wanted}",
            )
        return WeightLocation(wanted, folder)

    # the download

    async def _fetch(self, model: ModelSpec, place: WeightLocation) -> Reason | None:
        name = model.name
        log.info("downloading", model=name, wanted=str(place.wanted), folder=str(place.folder))
        began = asyncio.get_running_loop().time()
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "hotseat.weights.child",
            str(place.folder),
            str(place.wanted),
            env=self._environment(model),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert child.stdout is not None
        assert child.stderr is not None
        last: deque[str] = deque(maxlen=_LAST_LINES)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_keep_last(child.stderr, last))
                outcome = group.create_task(self._follow(name, place, child.stdout, began))
            await child.wait()
        finally:
            await _end(child)
        if "ready" in outcome.result():
            log.info("downloaded", model=name, seconds=round(asyncio.get_running_loop().time() - began, 1))
            return None
        failed = outcome.result().get("failed")
        return Reason(
            summary=f"download: {failed}" if failed else "the download ended without a result",
            permanent=bool(outcome.result().get("permanent")),
            lines=() if failed else tuple(last),
        )

    def _report(self, place: WeightLocation, progress: Progress) -> None:
        for report in self._listeners[place]:
            report(progress)

    def _environment(self, model: ModelSpec) -> dict[str, str]:
        """Return hotseat's environment, with the hub's variables (``HF_*``) of the model."""
        program = model.launch.program
        variables = {**self._env(), **(program.env if program else {})}
        hub = {name: value for name, value in variables.items() if name.startswith("HF_")}
        env = {
            name: value
            for name, value in {**inherited(model.withheld), **hub}.items()
            if name not in _OFFLINE
        }
        # A cache of chunks would take the space twice, in a container its memory.
        return env | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_XET_CHUNK_CACHE_SIZE_BYTES": "0"}

    async def _follow(
        self, name: str, place: WeightLocation, out: asyncio.StreamReader, began: float
    ) -> Mapping[str, object]:
        """Pass the progress on; return the last object that it wrote."""
        size, first, tenth = 0, 0, 0
        last: dict[str, object] = {}
        while line := await out.readline():
            with suppress(ValueError):
                last = json.loads(line)
            if isinstance(total := last.get("size"), int) and isinstance(missing := last.get("missing"), int):
                size, first = total, total - missing
                self._report(place, Progress(percent=100 * first // max(size, 1), left_s=None))
                log.info("download begins", model=name, mib=total >> 20, missing_mib=missing >> 20)
            elif isinstance(done := last.get("done"), int) and size:
                took_s = asyncio.get_running_loop().time() - began
                left_s = took_s * (size - done) / (done - first) if done > first else None
                percent = 100 * done // size
                self._report(place, Progress(percent=percent, left_s=left_s))
                if percent // 10 > tenth:
                    tenth = percent // 10
                    log.info("downloading", model=name, percent=percent)
        return last


def _is_reachable(folder: Path) -> bool:
    """Whether the folder exists or can be created in an existing cache folder."""
    return any(one.is_dir() for one in (folder, *folder.parents[:2]))


def _size_of(folder: Path) -> int:
    size = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            status = file.lstat()
            size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return size


async def _look(place: WeightLocation) -> bool:
    return await asyncio.to_thread(files_are_here, place.folder, place.wanted)


async def _keep_last(err: asyncio.StreamReader, last: deque[str]) -> None:
    while line := await err.readline():
        last.append(line.decode("utf-8", "replace").rstrip())


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        with suppress(ProcessLookupError):
            child.terminate()
        try:
            async with asyncio.timeout(TERM_GRACE_S):
                await child.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
