"""Checks of the stack's setup: ``.env`` and its keys, Compose, the systemd unit."""

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


def check_setup(context: DoctorContext) -> Iterator[CheckResult]:
    """Run the checks."""
    yield _compose(context)
    yield from _env_file(context)
    yield from context.lockouts
    yield _unit(context)


def _compose(context: DoctorContext) -> CheckResult:
    if context.compose is None:
        return error("compose", "Compose v2 is not installed", "install the package docker-compose-plugin")
    return ok("compose", f"Compose {context.compose.version}")


def _env_file(context: DoctorContext) -> Iterator[CheckResult]:
    path = context.folder / ".env"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        disk.read(path, context.env)
    except FileNotFoundError:
        yield error("env file", f"{path} does not exist", f"hotseat init --stack {context.folder}")
        return
    except EnvFileError as problem:
        yield error("env file", f"{path}: {problem}", "write each line as NAME=value")
        return
    except OSError as problem:
        yield error("env file", f"{path}: {problem.strerror}", "run hotseat doctor as the file's owner")
        return
    if mode & 0o077:
        yield error("env file", f"{path} can be read by other users (mode {mode:o})", f"chmod 600 {path}")
    else:
        yield ok("env file", f"{path}, mode {mode:o}")
    yield from _keys(context)


def _keys(context: DoctorContext) -> Iterator[CheckResult]:
    values = context.values
    if not values.get(keys.CLIENT):
        yield error(
            "keys",
            f"{keys.CLIENT} is empty",
            f"move {context.folder}/.env away; hotseat init then writes a new one with keys",
        )
        return
    given = {name: values[name] for name in (keys.CLIENT, keys.UPSTREAM, "ADMIN_API_KEY") if values.get(name)}
    if len(set(given.values())) < len(given):
        same = " and ".join(name for name, value in given.items() if list(given.values()).count(value) > 1)
        yield warning(
            "keys",
            f"{same} are the same, so one leak exposes all of them",
            "replace one: openssl rand -hex 32",
        )
    elif len(given) < 3:
        names = ", ".join(sorted({keys.UPSTREAM, "ADMIN_API_KEY"} - set(given)))
        yield warning(
            "keys", f"{names} not set; {keys.CLIENT} is used instead", "add one: openssl rand -hex 32"
        )
    else:
        yield ok("keys", "clients, containers and the admin API have separate keys")
    yield _age(context)


def _age(context: DoctorContext) -> CheckResult:
    rotate = f"hotseat rotate-key --stack {context.folder}"
    age = keys.age(context.values, context.now)
    if age is None:
        return warning(
            "key age", f"{keys.SINCE} is missing, so the age of the clients' key is unknown", rotate
        )
    if age < timedelta(0):
        return warning("key age", f"{keys.SINCE} is in the future", "check this machine's clock")
    if age > keys.QUARTER:
        return warning("key age", f"the clients' key is {age.days} days old; rotate it quarterly", rotate)
    text = f"the clients' key is {age.days} days old"
    until = keys.moment(context.values.get(keys.OLD_UNTIL, ""))
    if context.values.get(keys.OLD) and until and until > context.now:
        text += f"; the previous one is valid until {until:%Y-%m-%d %H:%M} UTC"
    return ok("key age", text)


def _unit(context: DoctorContext) -> CheckResult:
    program = shutil.which("systemctl", path=context.env.get("PATH"))
    if program is None:
        return unknown("systemd unit", "this machine has no systemd (WSL: set systemd=true in /etc/wsl.conf)")
    for words in ([program], [program, "--user"]):
        try:
            done = subprocess.run(
                [*words, "is-enabled", "hotseat.service"],
                capture_output=True,
                text=True,
                timeout=20,
                env=dict(context.env),
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.stdout.strip() == "enabled":
            return ok("systemd unit", "hotseat.service is enabled" + (" for this user" if words[1:] else ""))
    return warning(
        "systemd unit",
        "hotseat.service is not enabled, so the launcher does not start at boot",
        f"sudo {_program(context)} install-service --stack {context.folder}",
    )


def _program(context: DoctorContext) -> str:
    """The path of hotseat, since sudo does not search virtual environments."""
    return shutil.which("hotseat", path=context.env.get("PATH")) or "hotseat"
