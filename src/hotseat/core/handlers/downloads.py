"""Reports about model files: whether they are on the disk, and how downloads end."""

from __future__ import annotations

from hotseat.core import events as ev
from hotseat.core.scheduler_state import SchedulerState
from hotseat.core.states import Cause, State


def files_seen(state: SchedulerState, event: ev.FilesSeen, now: float) -> None:
    """Note whether the files must be downloaded before the next start."""
    model = state.models.get(event.model)
    if model is None or model.spec.download_timeout_s is None or model.state is State.DOWNLOADING:
        return
    model.files_missing = not event.here
    state.update_wanted(model)


def downloaded(state: SchedulerState, event: ev.Downloaded, now: float) -> None:
    """Let the model be started."""
    if (model := state.downloading(event.model, event.download)) is not None:
        model.files_missing, model.downloaded_at = False, now
        state.move(model, State.STOPPED, Cause.DOWNLOADED, now)


def download_failed(state: SchedulerState, event: ev.DownloadFailed, now: float) -> None:
    """Back off."""
    if (model := state.downloading(event.model, event.download)) is not None:
        model.count_failed_start(event.reason)
        model.failures, model.reason = model.failures + 1, event.reason
        state.back_off(model, Cause.DOWNLOAD_FAILED, event.reason, now)
