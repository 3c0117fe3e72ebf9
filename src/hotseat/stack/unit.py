"""The systemd unit that starts the stack with one model, and stops the whole stack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_UNIT = """\
# Written by `hotseat install-service`. Starts the launcher and one model; stops the launcher and all models.
[Unit]
Description=hotseat: the launcher and its models
{after}
[Service]
Type=oneshot
RemainAfterExit=yes
WorkingDirectory={folder}
ExecStart={compose} {profiles} up --detach
# Stop the launcher first: it would start a stopped model again for the next request.
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

    ``compose`` is the command of Compose; ``profiles`` are started, the launcher's among them; ``models``
    are the services to stop. With ``user`` it is a user unit, which cannot depend on ``docker.service``.
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
    """One word of a command line, quoted for systemd."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if any(character in escaped for character in " \t'\"\\;") else escaped
