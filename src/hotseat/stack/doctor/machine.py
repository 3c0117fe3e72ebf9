"""Doctor's look at the machine: cache and its file system, disk, port, GPU, and whether models fit."""

from __future__ import annotations

from collections.abc import Iterator

from hotseat.stack.doctor import host
from hotseat.stack.doctor.check import CheckResult, error, ok, unknown, warning
from hotseat.stack.doctor.context import DoctorContext
from hotseat.stack.doctor.docker_api import DockerApi, DockerApiError
from hotseat.stack.doctor.memory_fit import MemoryFit, fit
from hotseat.stack.doctor.model_memory import GIB, architecture, model_folder

_LINUX = ("ext4", "ext3", "xfs", "btrfs", "zfs", "f2fs", "overlay")
_WINDOWS = ("9p", "v9fs", "drvfs", "fuseblk", "ntfs", "ntfs3", "cifs", "virtiofs", "vfat", "exfat")
_SPARE = 5 * GIB
"""For compile caches and logs, beside the weights."""


def examine_host(patient: DoctorContext) -> Iterator[CheckResult]:
    """Each line of it."""
    system = host.file_system(patient.cache)
    yield _cache(patient, system)
    yield from _weights(patient, system)
    yield _port(patient)
    yield from _gpus_and_fits(patient)


def _cache(patient: DoctorContext, system: host.FileSystem) -> CheckResult:
    where = f"{patient.cache} lies on {system.kind}"
    if system.kind in _WINDOWS:
        fix = "set CACHE_DIR to a folder inside the distribution, such as /srv/llm/.cache"
        return error("cache", f"{where}, a Windows or network drive: reading weights would take minutes", fix)
    if system.kind not in _LINUX:
        return warning(
            "cache", f"{where}, which is not known to be fast", "set CACHE_DIR to a folder on ext4"
        )
    if not patient.cache.is_dir():
        return warning("cache", f"{patient.cache} does not exist yet", f"mkdir -p {patient.cache}")
    return ok("cache", where)


def _weights(patient: DoctorContext, system: host.FileSystem) -> Iterator[CheckResult]:
    missing: list[str] = []
    wanted = 0
    for name in dict.fromkeys(service.model() for service in patient.models()):
        if not name or name.startswith("/") or model_folder(patient.cache, name):
            continue
        missing.append(name)
        known = architecture(name, None)
        wanted += known.weight_bytes(None) if known else 0
    if missing:
        yield warning("weights", f"not in the cache: {', '.join(missing)}", "hotseat seed")
    elif patient.models():
        yield ok("weights", "in the cache, as far as the configuration names them")
    free = f"{system.free / GIB:.0f} GiB free at {system.mounted_at}"
    if system.free < wanted + _SPARE:
        needed = f"{(wanted + _SPARE) / GIB:.0f} GiB are needed (weights to come {wanted / GIB:.0f})"
        yield error("disk", f"{free}; {needed}", "make room, or set CACHE_DIR to a larger disk")
    else:
        yield ok("disk", free)


def _port(patient: DoctorContext) -> CheckResult:
    address = patient.value("LAUNCHER_BIND", "0.0.0.0")
    number = patient.value("LAUNCHER_PORT", "8000")
    if not number.isdecimal() or not 0 < int(number) < 65536:
        return error("port", "LAUNCHER_PORT is no port", "set it to 8000, say")
    problem = host.port_problem(address, int(number))
    if problem is None:
        return ok("port", f"{address}:{number} is free")
    if _launcher_runs(patient):
        return ok("port", f"{address}:{number} is the launcher's")
    return error("port", f"{address}:{number}: {problem}", f"find who has it (ss -ltnp 'sport = :{number}')")


def _launcher_runs(patient: DoctorContext) -> bool:
    try:
        found = DockerApi(patient.env).container("launcher")
    except DockerApiError:
        return False
    return bool(found and (found.get("State") or {}).get("Running"))


def _gpus_and_fits(patient: DoctorContext) -> Iterator[CheckResult]:
    found = host.gpus(patient.env)
    if found:
        for index, gpu in enumerate(found):
            sizes = f"{gpu.used / GIB:.1f} of {gpu.total / GIB:.1f} GiB taken"
            yield ok(f"gpu {index}", f"{gpu.name}, driver {gpu.driver}, {sizes}")
    else:
        yield error("gpu", "nvidia-smi sees no GPU", "install the driver (WSL: on Windows, none inside)")
    card = patient.card or (found[0].total if found else None)
    if card is None:
        yield unknown("memory", "not reckoned without a GPU", "say how large it is: --card 24GiB")
        return
    for service in patient.models():
        known = architecture(service.model() or "", patient.cache)
        sum_ = fit(service, known, card) if known else None
        name = f"memory of {service.container or service.name}"
        if sum_ is None:
            yield unknown(name, f"{service.model() or 'its model'} is not known here and not in the cache")
        else:
            yield _fit(name, sum_)


def _fit(name: str, sum_: MemoryFit) -> CheckResult:
    if not sum_.starts:
        start, comfort = sum_.share_to_start(), sum_.share_for_all()
        if start is None:
            fix = "take a smaller model, a quantized one, or a shorter --max-model-len"
        else:
            fix = f"--gpu-memory-utilization {start:.2f} or more"
            fix += (
                f" ({comfort:.2f} for {sum_.sequences} full requests)" if comfort and comfort > start else ""
            )
        return error(name, f"does not fit: {sum_.story()}", fix)
    held = min(sum_.full_sequences(), sum_.sequences)
    return ok(name, f"fits: {sum_.story()}; holds {held} of {sum_.sequences} full requests at once")
