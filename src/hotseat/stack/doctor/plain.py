"""Doctor's look at a launcher of plain processes, without a stack: programs, port, disk, GPU."""

from __future__ import annotations

import http.client
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hotseat.core.spec import Program, Settings
from hotseat.stack.doctor import host
from hotseat.stack.doctor.check import CheckResult, error, ok, warning
from hotseat.stack.doctor.context import DoctorContext

GIB = 1024**3
_SPARE = GIB
"""What logs and history are given; weights are the servers' own matter here."""
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_PATIENCE_S = 5.0


def is_plain(patient: DoctorContext) -> bool:
    """Whether there is a configuration, all of its models are processes, and nothing of a stack is there."""
    if patient.settings is None or patient.project is not None:
        return False
    return all(model.launch.program is not None for model in patient.settings.models.values())


def examine_plain(patient: DoctorContext) -> Iterator[CheckResult]:
    """Each line of it."""
    settings = patient.settings
    assert settings is not None
    for name, model in settings.models.items():
        if (program := model.launch.program) is not None:
            yield _program(name, program, patient)
    yield _keys(settings)
    yield _port(settings)
    yield _disk(Path(settings.serve.state_dir))
    found = host.gpus(patient.env) or []
    for index, gpu in enumerate(found):
        sizes = f"{gpu.used / GIB:.1f} of {gpu.total / GIB:.1f} GiB taken"
        yield ok(f"gpu {index}", f"{gpu.name}, driver {gpu.driver}, {sizes}")
    if not found:
        yield warning("gpu", "nvidia-smi sees no GPU", "install the driver, unless the models need none")


def _program(model: str, program: Program, patient: DoctorContext) -> CheckResult:
    name, word = f"program of {model}", program.command[0]
    if program.cwd is not None and not os.path.isdir(program.cwd):
        return error(name, f"there is no folder {program.cwd}", f"mkdir -p {program.cwd}")
    path = program.env.get("PATH", patient.env.get("PATH"))
    if os.sep in word:
        where = os.path.join(program.cwd or "", word)
        found = where if os.access(where, os.X_OK) and os.path.isfile(where) else None
    else:
        found = shutil.which(word, path=path)
    if found is None:
        return error(name, f"there is no program {word}", "install it, or write its whole path")
    return ok(name, found)


def _keys(settings: Settings) -> CheckResult:
    if settings.serve.open:
        return ok("keys", "none: this machine alone may ask")
    if not settings.auth.required:
        return warning("keys", "auth is off: whoever reaches the port may ask", "take auth: off out")
    return ok("keys", f"{len(settings.auth.keys)} of clients")


def _port(settings: Settings) -> CheckResult:
    address, number = settings.serve.host, settings.serve.port
    problem = host.port_problem(address, number)
    if problem is None:
        return ok("port", f"{address}:{number} is free")
    if not settings.serve.tls and _answers(_WILDCARDS.get(address, address), number):
        return ok("port", f"{address}:{number}: hotseat answers there")
    return error("port", f"{address}:{number}: {problem}", f"find who has it (ss -ltnp 'sport = :{number}')")


def _answers(address: str, number: int) -> bool:
    """Whether a hotseat answers there."""
    connection = http.client.HTTPConnection(address, number, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/healthz")
        told = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return isinstance(told, dict) and "routes" in told


def _disk(state_dir: Path) -> CheckResult:
    system = host.file_system(state_dir)
    free = f"{state_dir}: {system.free / GIB:.0f} GiB free at {system.mounted_at}"
    there = next(one for one in (state_dir, *state_dir.parents) if one.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return error("state", f"{there} cannot be written", "run as its owner, or set state_dir")
    if system.free < _SPARE:
        return error("state", free, "make room, or set state_dir to a larger disk")
    return ok("state", free)
