"""Doctor's look at what was set up: ``.env`` and its keys, Compose, the systemd unit."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Iterator
from datetime import timedelta

from hotseat.envfile import disk
from hotseat.envfile.syntax import EnvFileError
from hotseat.stack import keys
from hotseat.stack.doctor.check import CheckResult, error, ok, unknown, warning
from hotseat.stack.doctor.context import DoctorContext


def examine_setup(patient: DoctorContext) -> Iterator[CheckResult]:
    """Each line of it."""
    yield _compose(patient)
    yield from _env_file(patient)
    yield _unit(patient)


def _compose(patient: DoctorContext) -> CheckResult:
    if patient.compose is None:
        return error("compose", "there is no Compose v2", "install the package docker-compose-plugin")
    return ok("compose", f"Compose {patient.compose.version}")


def _env_file(patient: DoctorContext) -> Iterator[CheckResult]:
    path = patient.folder / ".env"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        disk.read(path, patient.env)
    except FileNotFoundError:
        yield error("env file", f"there is no {path}", f"hotseat init --stack {patient.folder}")
        return
    except EnvFileError as problem:
        yield error("env file", f"{path}: {problem}", "write NAME=value there")
        return
    except OSError as problem:
        yield error("env file", f"{path}: {problem.strerror}", "run this as the file's owner")
        return
    if mode & 0o077:
        yield error("env file", f"{path} is open to others (mode {mode:o})", f"chmod 600 {path}")
    else:
        yield ok("env file", f"{path}, mode {mode:o}")
    yield from _keys(patient)


def _keys(patient: DoctorContext) -> Iterator[CheckResult]:
    values = patient.values
    if not values.get(keys.CLIENT):
        yield error(
            "keys", f"{keys.CLIENT} is empty", f"hotseat init writes keys into a new {patient.folder}/.env"
        )
        return
    given = {name: values[name] for name in (keys.CLIENT, keys.UPSTREAM, "ADMIN_API_KEY") if values.get(name)}
    if len(set(given.values())) < len(given):
        same = " and ".join(name for name, value in given.items() if list(given.values()).count(value) > 1)
        yield warning("keys", f"{same} are the same: one leak opens all", "replace one: openssl rand -hex 32")
    elif len(given) < 3:
        names = ", ".join(sorted({keys.UPSTREAM, "ADMIN_API_KEY"} - set(given)))
        yield warning(
            "keys", f"{names} not set: {keys.CLIENT} serves for it too", "add one: openssl rand -hex 32"
        )
    else:
        yield ok("keys", "clients, containers and the admin API have keys of their own")
    yield _age(patient)


def _age(patient: DoctorContext) -> CheckResult:
    rotate = f"hotseat rotate-key --stack {patient.folder}"
    age = keys.age(patient.values, patient.now)
    if age is None:
        return warning(
            "key age", f"{keys.SINCE} is missing: nobody knows how old the clients' key is", rotate
        )
    if age < timedelta(0):
        return warning("key age", f"{keys.SINCE} lies in the future", "check the clock")
    if age > keys.QUARTER:
        return warning("key age", f"the clients' key is {age.days} days old: rotate it quarterly", rotate)
    text = f"the clients' key is {age.days} days old"
    until = keys.moment(patient.values.get(keys.OLD_UNTIL, ""))
    if patient.values.get(keys.OLD) and until and until > patient.now:
        text += f"; the one before it is valid until {until:%Y-%m-%d %H:%M} UTC"
    return ok("key age", text)


def _unit(patient: DoctorContext) -> CheckResult:
    program = shutil.which("systemctl", path=patient.env.get("PATH"))
    if program is None:
        return unknown("systemd unit", "there is no systemd here (WSL: systemd=true in /etc/wsl.conf)")
    for words in ([program], [program, "--user"]):
        try:
            done = subprocess.run(
                [*words, "is-enabled", "hotseat.service"],
                capture_output=True,
                text=True,
                timeout=20,
                env=dict(patient.env),
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.stdout.strip() == "enabled":
            return ok("systemd unit", "hotseat.service is enabled" + (" for this user" if words[1:] else ""))
    return warning(
        "systemd unit",
        "hotseat.service is not enabled: nothing starts the launcher at boot",
        f"sudo {_ourselves(patient)} install-service --stack {patient.folder}",
    )


def _ourselves(patient: DoctorContext) -> str:
    """hotseat with its path: sudo does not look into virtual environments."""
    return shutil.which("hotseat", path=patient.env.get("PATH")) or "hotseat"
