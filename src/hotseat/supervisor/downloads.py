"""Downloads that the core ordered: each runs in a task, which keeps its progress and reports its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from hotseat.core import events as ev
from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec
from hotseat.core.views import Progress
from hotseat.supervisor.ports import WeightFiles
from hotseat.tasks import Tasks

log = structlog.get_logger("hotseat")


class Downloads:
    """The downloads of all models, and checks for missing files."""

    def __init__(self, files: WeightFiles, tasks: Tasks, report: Callable[[ev.Event], None]) -> None:
        self._files, self._tasks, self._report = files, tasks, report
        self._running: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self._progress: dict[str, Progress] = {}

    async def check(self, models: Iterable[ModelSpec]) -> None:
        """Report for each model with downloads whether its files are on the disk."""
        for model in models:
            if model.scheduling.download_timeout_s is not None:
                self._report(ev.FilesSeen(model.name, await self._files.are_here(model)))

    def check_soon(self, model: ModelSpec) -> None:
        """Do the same in a task: a start failed, and the files may have gone."""
        if model.scheduling.download_timeout_s is not None:
            self._tasks.start(f"check files of {model.name}", self.check([model]))

    def start(self, model: ModelSpec, number: int) -> None:
        """Download the model's files."""
        task = self._tasks.start(f"download {model.name}", self._download(model, number))
        self._running[model.name] = number, task

    def stop(self, model: str, number: int) -> None:
        """Cancel this download."""
        if model in self._running and self._running[model][0] == number:
            self._running.pop(model)[1].cancel()
            self._progress.pop(model, None)

    def progress(self, model: str) -> Progress | None:
        """Progress of the model's download; ``None`` before that is known."""
        return self._progress.get(model)

    async def _download(self, model: ModelSpec, number: int) -> None:
        name = model.name

        def on_progress(progress: Progress) -> None:
            self._progress[name] = progress

        try:
            reason = await self._files.download(model, on_progress)
        except Exception as error:  # a bug must not leave clients waiting
            log.error("download failed", model=name, exc_info=error)
            reason = Reason(summary=f"hotseat failed to download: {error!r}")
        if self._running.get(name, (None,))[0] == number:
            del self._running[name]
            self._progress.pop(name, None)
        self._report(
            ev.Downloaded(name, number) if reason is None else ev.DownloadFailed(name, number, reason)
        )
