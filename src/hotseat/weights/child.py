"""One download in a process of its own, so that it takes neither the launcher's event loop nor its memory.

    python -m hotseat.weights.child FOLDER OWNER/NAME[@REVISION]

Writes a JSON object a line to standard output: ``{"size", "missing"}`` (bytes, once), ``{"done"}`` (bytes,
repeatedly), and at last ``{"ready"}`` (the folder) or ``{"failed", "permanent"}``. Ends when its standard
input is closed, so it does not outlive the launcher; complete files are kept.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hotseat.installation import install_extra
from hotseat.weights.wanted import WantedFiles, model_folder, parse

if TYPE_CHECKING:
    from hotseat.weights.hub import Hub

EVERY_S = 0.5


def main() -> None:
    """Download what the command line names. Exit status: 0 complete, 1 failed."""
    folder, wanted = Path(sys.argv[1]), parse(sys.argv[2])
    assert wanted is not None
    try:
        from hotseat.weights.hub import DownloadError, Hub, exit_now
    except ImportError as error:
        words = f"{wanted}: downloads need {error.name}: {install_extra('seed')}"
        _report(failed=words, permanent=True)
        sys.exit(1)
    threading.Thread(target=_exit_with_parent, args=[exit_now], daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: exit_now(1))
    env = os.environ
    hub = Hub(
        folder,
        env.get("HF_TOKEN") or None,
        endpoint=env.get("HF_ENDPOINT"),
        quiet=True,
        give_token="set HF_TOKEN for the launcher (in its environment or its .env)",
        again="the next attempt resumes there",
    )
    try:
        place = _fetch(hub, wanted)
    except DownloadError as error:
        _report(failed=str(error), permanent=error.permanent)
        exit_now(1)
    _report(ready=str(place))
    exit_now(0)


def _fetch(hub: Hub, wanted: WantedFiles) -> Path:
    from hotseat.weights.hub import DownloadError

    plan = hub.plan(wanted, everything=False)
    _report(size=plan.size, missing=plan.missing)
    if (short := plan.missing - hub.free_bytes()) > 0:
        raise DownloadError(
            f"{wanted}: needs {short / 2**30:.1f} GiB more free space in {hub.folder}; nothing was downloaded"
        )
    _watch(hub.folder, wanted, plan.size, plan.missing)
    place = hub.fetch(plan)
    if plan.missing:
        hub.verify(plan)
    return place


def _watch(folder: Path, wanted: WantedFiles, size: int, missing: int) -> None:
    """Report the downloaded bytes every ``EVERY_S`` seconds, in a thread."""
    blobs = model_folder(folder, wanted) / "blobs"
    before = _bytes(blobs, "*") - _bytes(blobs, "*.incomplete") - (size - missing)

    def report_progress() -> None:
        waiting = threading.Event()
        while not waiting.wait(EVERY_S):
            _report(done=max(0, min(size, _bytes(blobs, "*") - before)))

    threading.Thread(target=report_progress, daemon=True).start()


def _bytes(folder: Path, pattern: str) -> int:
    """Return the bytes on disk: a file that is downloaded in pieces may be sparse."""
    total = 0
    for file in folder.glob(pattern):
        with suppress(OSError):
            found = file.stat()
            total += min(found.st_size, found.st_blocks * 512)
    return total


_report_lock = threading.Lock()


def _report(**what: Any) -> None:
    with _report_lock:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


def _exit_with_parent(exit_now: Callable[[int], NoReturn]) -> None:
    sys.stdin.read()
    exit_now(1)


if __name__ == "__main__":
    main()
