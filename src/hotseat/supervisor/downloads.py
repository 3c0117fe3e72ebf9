"""Downloads that the core has ordered: each in a task, its progress kept, its end told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from hotseat.core import events as ev
from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec
from hotseat.core.views import Progress
from hotseat.tasks import Tasks

log = structlog.get_logger("hotseat")


class WeightFiles(Protocol):
    """The files that models need before they are started (``weights.downloads``)."""

    async def are_here(self, model: ModelSpec) -> bool:
        """Whether nothing has to be downloaded."""

    async def download(self, model: ModelSpec, tell: Callable[[Progress], None]) -> Reason | None:
        """Download what is missing; why it could not be. When cancelled, nothing of it goes on."""


class Downloads:
    """The downloads of all models, and looks at the disk."""

    def __init__(self, files: WeightFiles, tasks: Tasks, feed: Callable[[ev.Event], None]) -> None:
        self._files, self._tasks, self._feed = files, tasks, feed
        self._running: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self._progress: dict[str, Progress] = {}

    async def look(self, models: Iterable[ModelSpec]) -> None:
        """Tell the core of each whose files may have to be downloaded whether they are there."""
        for model in models:
            if model.scheduling.download_timeout_s is not None:
                self._feed(ev.FilesSeen(model.name, await self._files.are_here(model)))

    def look_soon(self, model: ModelSpec) -> None:
        """The same in a task: something did not work, and the files may have gone."""
        if model.scheduling.download_timeout_s is not None:
            self._tasks.start(f"look for files of {model.name}", self.look([model]))

    def start(self, model: ModelSpec, number: int) -> None:
        """Download the model's files."""
        task = self._tasks.start(f"download {model.name}", self._download(model, number))
        self._running[model.name] = number, task

    def stop(self, model: str, number: int) -> None:
        """End this download."""
        if model in self._running and self._running[model][0] == number:
            self._running.pop(model)[1].cancel()
            self._progress.pop(model, None)

    def progress(self, model: str) -> Progress | None:
        """How far it is; ``None`` before that is known."""
        return self._progress.get(model)

    async def _download(self, model: ModelSpec, number: int) -> None:
        name = model.name

        def tell(progress: Progress) -> None:
            self._progress[name] = progress

        try:
            reason = await self._files.download(model, tell)
        except Exception as error:  # a bug must not leave clients waiting
            log.error("download failed", model=name, exc_info=error)
            reason = Reason(summary=f"hotseat failed to download: {error!r}")
        if self._running.get(name, (None,))[0] == number:
            del self._running[name]
            self._progress.pop(name, None)
        self._feed(ev.Downloaded(name, number) if reason is None else ev.DownloadFailed(name, number, reason))
