"""Checks of the machine: the cache and its file system, disk, port, GPU, and whether models fit."""

from __future__ import annotations

from collections.abc import Iterator

from hotseat import listening
from hotseat.core.spec import ListenSpec
from hotseat.stack.doctor import host
from hotseat.stack.doctor.check import CheckResult, error, ok, unknown, warning
from hotseat.stack.doctor.context import DoctorContext
from hotseat.stack.doctor.docker_api import DockerApi, DockerApiError
from hotseat.stack.doctor.memory_fit import MemoryFit, fit
from hotseat.stack.doctor.model_memory import GIB, architecture, model_folder

_LINUX = ("ext4", "ext3", "xfs", "btrfs", "zfs", "f2fs", "overlay")
_WINDOWS = ("9p", "v9fs", "drvfs", "fuseblk", "ntfs", "ntfs3", "cifs", "virtiofs", "vfat", "exfat")
_RESERVE = 5 * GIB
"""Room for compile caches and logs in addition to the weights, in bytes."""


def check_machine(context: DoctorContext) -> Iterator[CheckResult]:
    """Run the checks."""
    system = host.file_system(context.cache)
    yield _cache(context, system)
    yield from _weights(context, system)
    yield _port(context)
    yield from _gpus_and_fits(context)


def _cache(context: DoctorContext, system: host.FileSystem) -> CheckResult:
    where = f"{context.cache} is on {system.kind}"
    if system.kind in _WINDOWS:
        fix = "set CACHE_DIR to a folder inside the WSL distribution, such as /srv/llm/.cache"
        return error(
            "cache", f"{where}, a Windows or network drive, from which weights take minutes to read", fix
        )
    if system.kind not in _LINUX:
        return warning("cache", f"{where}, which may be slow", "set CACHE_DIR to a folder on ext4")
    if not context.cache.is_dir():
        return warning("cache", f"{context.cache} does not exist yet", f"mkdir -p {context.cache}")
    return ok("cache", where)


def _weights(context: DoctorContext, system: host.FileSystem) -> Iterator[CheckResult]:
    missing: list[str] = []
    wanted = 0
    for name in dict.fromkeys(service.model() for service in context.models()):
        if not name or name.startswith("/") or model_folder(context.cache, name):
            continue
        missing.append(name)
        known = architecture(name, None)
        wanted += known.weight_bytes(None) if known else 0
    if missing:
        yield warning("weights", f"not in the cache: {', '.join(missing)}", "download them: hotseat seed")
    elif context.models():
        yield ok("weights", "all configured models are in the cache")
    free = f"{system.free / GIB:.0f} GiB free at {system.mounted_at}"
    if system.free < wanted + _RESERVE:
        needed = (
            f"needs {(wanted + _RESERVE) / GIB:.0f} GiB ({wanted / GIB:.0f} for weights still to download)"
        )
        yield error(
            "disk", f"{free}; {needed}", "free disk space, or set CACHE_DIR to a folder on a larger disk"
        )
    else:
        yield ok("disk", free)


def _port(context: DoctorContext) -> CheckResult:
    address = context.value("LAUNCHER_BIND", "0.0.0.0")
    number = context.value("LAUNCHER_PORT", "8000")
    if not number.isdecimal() or not 0 < int(number) < 65536:
        return error(
            "port", "LAUNCHER_PORT is not a port number", "set it in .env, for example LAUNCHER_PORT=8000"
        )
    problem = listening.problem(ListenSpec(address, int(number)))
    if problem is None:
        return ok("port", f"{address}:{number} is free")
    if _launcher_runs(context):
        return ok("port", f"{address}:{number} is in use by the launcher")
    return error(
        "port",
        f"{address}:{number}: {problem}",
        f"find the program that uses it: ss -ltnp 'sport = :{number}'",
    )


def _launcher_runs(context: DoctorContext) -> bool:
    try:
        found = DockerApi(context.env).container("launcher")
    except DockerApiError:
        return False
    return bool(found and (found.get("State") or {}).get("Running"))


def _gpus_and_fits(context: DoctorContext) -> Iterator[CheckResult]:
    found = host.gpus(context.env)
    if found:
        for index, gpu in enumerate(found):
            sizes = f"{gpu.used / GIB:.1f} of {gpu.total / GIB:.1f} GiB in use"
            yield ok(f"gpu {index}", f"{gpu.name}, driver {gpu.driver}, {sizes}")
    else:
        yield error(
            "gpu", "nvidia-smi finds no GPU", "install the NVIDIA driver (WSL: on Windows, not inside)"
        )
    card = context.card or (found[0].total if found else None)
    if card is None:
        yield unknown("memory", "not estimated, since there is no GPU", "name the GPU's size: --card 24GiB")
        return
    for service in context.models():
        known = architecture(service.model() or "", context.cache)
        estimate = fit(service, known, card) if known else None
        name = f"memory of {service.container or service.name}"
        if estimate is None:
            yield unknown(name, f"not estimated: {service.model() or 'its model'} is not in the cache")
        else:
            yield _fit(name, estimate)


def _fit(name: str, estimate: MemoryFit) -> CheckResult:
    if not estimate.starts:
        start, for_all = estimate.share_to_start(), estimate.share_for_all()
        if start is None:
            fix = "use a smaller or quantized model, or a shorter --max-model-len"
        else:
            fix = f"set --gpu-memory-utilization to {start:.2f} or more"
            fix += (
                f" ({for_all:.2f} for {estimate.sequences} full-length requests at once)"
                if for_all and for_all > start
                else ""
            )
        return error(name, f"does not fit: {estimate.summary()}", fix)
    held = min(estimate.full_sequences(), estimate.sequences)
    return ok(
        name,
        f"fits: {estimate.summary()}; room for {held} of {estimate.sequences} full-length requests at once",
    )
