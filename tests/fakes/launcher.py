"""A program that launches a model as hotseat does and is killed with SIGKILL at a chosen moment.

    python launcher.py STATE_DIR MOMENT MODEL WORD…

``MOMENT``: ``before-record`` (launched, nothing written), ``launched``, ``stopping`` (ready, SIGTERM
sent, the grace runs). The words are the model's command. It recovers nothing, so that it can make
second copies.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from hotseat.core.spec import ModelSpec, SchedulingSpec
from hotseat.probing.readiness import until_ready
from hotseat.runtimes.process.launch_records import LaunchRecord, LaunchRecords
from hotseat.runtimes.process.runtime import ProcessRuntime
from hotseat.runtimes.process.spec import ProcessSpec


def die(*_: object) -> NoReturn:
    """As ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


async def main(state_dir: Path, moment: str, name: str, *command: str) -> None:
    """Launch, and die."""
    seat = SchedulingSpec(name=name, footprint={}, fingerprint="v1")
    model = ModelSpec(name=name, scheduling=seat, launch=ProcessSpec(command=command))
    runtime = ProcessRuntime(state_dir)
    await runtime.open()
    assert runtime.unusable() is None, runtime.unusable()
    if moment == "before-record":

        def write(self: LaunchRecords, launch: LaunchRecord) -> None:
            die()

        LaunchRecords.write = write  # type: ignore[method-assign]
    handle = await runtime.start(model, 5)
    if moment == "stopping":
        await until_ready(handle.host, handle.port)
        asyncio.get_running_loop().call_later(0.1, die)
        await runtime.stop(handle, 60)
    die()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
