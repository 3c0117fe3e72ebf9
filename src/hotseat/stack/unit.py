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


_PLAIN = """\
# Written by `hotseat install-service`. Runs the launcher, which starts and stops its models.
[Unit]
Description=hotseat: the launcher and its models
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
{user}WorkingDirectory={folder}
Environment={path}
ExecStart={program} serve -c {config}
ExecReload=/bin/kill -HUP $MAINPID
# SIGTERM goes to the launcher alone, which lets answers finish and stops its models.
KillMode={kill}
TimeoutStopSec=5min
Restart=on-failure
RestartSec=5
LimitNOFILE=65536

[Install]
WantedBy={wanted}
"""


def plain_unit(
    *,
    folder: Path,
    program: Sequence[str],
    search_path: str,
    leave_running: bool = False,
    run_as: str | None = None,
    user: bool = False,
) -> str:
    """Return the unit of a launcher of plain processes.

    ``program`` is hotseat's command; ``search_path`` is where the models' programs are found; ``run_as`` is
    the user of a system unit. With ``leave_running``, models outlive the launcher.
    """
    return _PLAIN.format(
        user=f"User={run_as}\n" if run_as and not user else "",
        folder=_path(str(folder)),
        path=_word(f"PATH={search_path}", always=True),
        program=" ".join(map(_word, program)),
        config=_word(str(folder / "hotseat.yaml")),
        kill="process" if leave_running else "mixed",
        wanted="default.target" if user else "multi-user.target",
    )


def _path(text: str) -> str:
    return text.replace("%", "%%")


def _word(text: str, *, always: bool = False) -> str:
    """One word of a command line, quoted for systemd where needed, or ``always``."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if always or any(character in escaped for character in " \t'\"\\;") else escaped
