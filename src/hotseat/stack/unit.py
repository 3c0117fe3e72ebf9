"""The systemd unit that starts the stack with one model, and stops all of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_UNIT = """\
# Written by `hotseat install-service`. Starts the launcher with one model; stops every model with it.
[Unit]
Description=hotseat: the launcher and its models
{after}
[Service]
Type=oneshot
RemainAfterExit=yes
WorkingDirectory={folder}
ExecStart={compose} {profiles} up --detach
# The launcher goes first: it would start a model again for the next request.
ExecStop={compose} {every} stop launcher
ExecStopPost={compose} {every} stop {models}
TimeoutStartSec=15min
TimeoutStopSec=5min

[Install]
WantedBy={wanted}
"""


def unit(
    *,
    folder: Path,
    compose: Sequence[str],
    profiles: Sequence[str],
    models: Sequence[str],
    user: bool = False,
) -> str:
    """The unit's text.

    ``compose`` are the words that run Compose; ``profiles`` are started (the launcher's own among
    them); ``models`` are the services that are stopped. A user's unit cannot
    depend on the system's ``docker.service``.
    """
    after = "" if user else "Requires=docker.service\nAfter=docker.service network-online.target\n"
    after += "" if user else "Wants=network-online.target\n"
    return _UNIT.format(
        after=after,
        folder=_path(str(folder)),
        compose=" ".join(map(_word, compose)),
        profiles=" ".join(f"--profile {_word(one)}" for one in profiles),
        every="--profile '*'",
        models=" ".join(map(_word, models)),
        wanted="default.target" if user else "multi-user.target",
    )


def _path(text: str) -> str:
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """One word of a command line in systemd's quoting."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if any(character in escaped for character in " \t'\"\\;") else escaped
