"""A configuration that is read again: what it changes, and when its files have changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hotseat.core.spec import Settings

LOOK_EVERY_S = 2.0
"""How often watched files are looked at; a change counts once they have been still for one more look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChanges:
    """What another configuration means for what runs."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    """Drained and stopped."""
    changed: tuple[str, ...] = ()
    """Launched in another way than before: those that run are restarted when they are idle."""
    needs_restart: tuple[str, ...] = ()
    """Settings that hotseat takes over only when it is started anew."""

    def as_dict(self) -> dict[str, list[str]]:
        """For JSON and logs."""
        return {name: list(values) for name, values in asdict(self).items()}


def compare(old: Settings, new: Settings) -> ConfigChanges:
    """What ``new`` changes."""
    both = [name for name in new.models if name in old.models]
    fixed = {
        "listen": (old.serve.host, old.serve.port) != (new.serve.host, new.serve.port),
        "state_dir": old.serve.state_dir != new.serve.state_dir,
        "rate_store": old.serve.rate_store != new.serve.rate_store,
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


async def watch(files: Sequence[str], changed: Callable[[], None], every_s: float = LOOK_EVERY_S) -> None:
    """Call ``changed`` when a file is another one, or has other contents, than before. Never ends."""
    known = latest = _signature(files)
    while True:
        await asyncio.sleep(every_s)
        before, latest = latest, _signature(files)
        if latest == before != known:  # still for one look: whoever writes it has finished
            known = latest
            changed()


def _signature(files: Sequence[str]) -> list[tuple[int, ...] | None]:
    return [_one(Path(file)) for file in files]


def _one(file: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
