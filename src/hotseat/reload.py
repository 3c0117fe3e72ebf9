"""Compares configurations, and watches configuration files for changes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hotseat.core.spec import Settings

POLL_INTERVAL_S = 2.0
"""How often watched files are checked, in seconds; a change counts once it is one more check old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChanges:
    """Changes that a new configuration makes to running models."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    """These are drained and stopped."""
    changed: tuple[str, ...] = ()
    """These are launched differently than before; running ones restart when they are idle."""
    needs_restart: tuple[str, ...] = ()
    """Settings that take effect only when hotseat is restarted."""

    def as_dict(self) -> dict[str, list[str]]:
        """Return the changes for JSON and logs."""
        return {name: list(values) for name, values in asdict(self).items()}


def compare(old: Settings, new: Settings) -> ConfigChanges:
    """Return what ``new`` changes."""
    both = [name for name in new.models if name in old.models]
    fixed = {
        "listen": old.serve.listen != new.serve.listen,
        "state_dir": old.serve.state_dir != new.serve.state_dir,
        "max_connections": old.serve.max_connections != new.serve.max_connections,
        "slow_client_timeout": old.serve.slow_client_s != new.serve.slow_client_s,
        "rate_store": old.serve.rate_store != new.serve.rate_store,
        "lease": old.serve.lease != new.serve.lease,
        "tls": old.serve.tls != new.serve.tls,
        "tracing": old.serve.tracing != new.serve.tracing,
    }
    return ConfigChanges(
        added=tuple(name for name in new.models if name not in old.models),
        removed=tuple(name for name in old.models if name not in new.models),
        changed=tuple(
            n for n in both if old.models[n].scheduling.fingerprint != new.models[n].scheduling.fingerprint
        ),
        needs_restart=tuple(name for name, differs in fixed.items() if differs),
    )


async def watch(
    files: Sequence[str], on_change: Callable[[], None], interval_s: float = POLL_INTERVAL_S
) -> None:
    """Call ``on_change`` when one of the files is replaced or modified. Never returns."""
    known = latest = _signature(files)
    while True:
        await asyncio.sleep(interval_s)
        before, latest = latest, _signature(files)
        if latest == before != known:  # unchanged since the last check: the writer has finished
            known = latest
            on_change()


def _signature(files: Sequence[str]) -> list[tuple[int, ...] | None]:
    return [_identity(Path(file)) for file in files]


def _identity(file: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
