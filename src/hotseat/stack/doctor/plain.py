"""Checks of a launcher of plain processes, without a Compose stack: programs, port, disk, GPU."""

from __future__ import annotations

import http.client
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hotseat import listening
from hotseat.core.spec import ListenSpec, Program, Settings
from hotseat.stack.doctor import host
from hotseat.stack.doctor.check import CheckResult, error, ok, warning
from hotseat.stack.doctor.context import DoctorContext
from hotseat.stack.doctor.start_time import check_start_times
from hotseat.unix_http import UnixConnection

GIB = 1024**3
_MIN_FREE = GIB
"""Room for logs and history, in bytes; the servers themselves care for their weights."""
_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_TIMEOUT_S = 5.0


def is_plain(context: DoctorContext) -> bool:
    """Whether all configured models are processes and there is no Compose project."""
    if context.settings is None or context.project is not None:
        return False
    return all(model.launch.program is not None for model in context.settings.models.values())


def check_plain(context: DoctorContext) -> Iterator[CheckResult]:
    """Run the checks."""
    settings = context.settings
    assert settings is not None
    for name, model in settings.models.items():
        if (program := model.launch.program) is not None:
            yield _program(name, program, context)
    yield _keys(settings)
    yield from context.lockouts
    for address in settings.serve.listen:
        yield _port(address, settings)
    yield _disk(Path(settings.serve.state_dir))
    yield from check_start_times(settings)
    found = host.gpus(context.env) or []
    for index, gpu in enumerate(found):
        sizes = f"{gpu.used / GIB:.1f} of {gpu.total / GIB:.1f} GiB in use"
        yield ok(f"gpu {index}", f"{gpu.name}, driver {gpu.driver}, {sizes}")
    if not found:
        yield warning(
            "gpu",
            "nvidia-smi finds no GPU",
            "install the NVIDIA driver (not needed for models that run on the CPU)",
        )


def _program(model: str, program: Program, context: DoctorContext) -> CheckResult:
    name, word = f"program of {model}", program.command[0]
    if program.cwd is not None and not os.path.isdir(program.cwd):
        return error(name, f"its working directory {program.cwd} does not exist", f"mkdir -p {program.cwd}")
    path = program.env.get("PATH", context.env.get("PATH"))
    if os.sep in word:
        where = os.path.join(program.cwd or "", word)
        found = where if os.access(where, os.X_OK) and os.path.isfile(where) else None
    else:
        found = shutil.which(word, path=path)
    if found is None:
        return error(name, f"program {word} not found", "install it, or write its full path in command")
    return ok(name, found)


def _keys(settings: Settings) -> CheckResult:
    if settings.serve.open:
        return ok("keys", "no keys: requests are accepted from this machine only")
    if not settings.auth.required:
        return warning(
            "keys", "auth is off: anyone who can reach the port can send requests", "remove auth: off"
        )
    return ok("keys", f"{len(settings.auth.keys)} configured")


def _port(address: ListenSpec, settings: Settings) -> CheckResult:
    problem = listening.problem(address)
    if problem is None:
        return ok("port", f"{address} is free")
    if not settings.serve.tls and _answers(address):
        return ok("port", f"{address} is in use by hotseat")
    find = f"ss -lxp src {address.path}" if address.path else f"ss -ltnp 'sport = :{address.port}'"
    return error("port", f"{address}: {problem}", f"find the program that uses it: {find}")


def _answers(address: ListenSpec) -> bool:
    """Return whether hotseat answers at an address."""
    connection: http.client.HTTPConnection
    if address.path is not None:
        connection = UnixConnection(address.path, _TIMEOUT_S)
    else:
        host_name = _WILDCARDS.get(address.host, address.host)
        connection = http.client.HTTPConnection(host_name, address.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        health = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return isinstance(health, dict) and "routes" in health


def _disk(state_dir: Path) -> CheckResult:
    system = host.file_system(state_dir)
    free = f"{state_dir}: {system.free / GIB:.0f} GiB free at {system.mounted_at}"
    there = next(one for one in (state_dir, *state_dir.parents) if one.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return error(
            "state",
            f"{there} is not writable",
            "run hotseat as its owner, or set state_dir to another folder",
        )
    if system.free < _MIN_FREE:
        return error("state", free, "free disk space, or set state_dir to a folder on a larger disk")
    return ok("state", free)
