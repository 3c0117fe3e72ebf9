"""Doctor's look at Docker: the Engine, the GPU's container toolkit, images, containers, the clock."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from hotseat.stack.compose.model import ComposeService
from hotseat.stack.doctor.check import CheckResult, error, ok, unknown, warning
from hotseat.stack.doctor.context import DoctorContext
from hotseat.stack.doctor.docker_api import DockerApi, DockerApiError

_SKEW_S = 5.0


def examine_engine(patient: DoctorContext) -> Iterator[CheckResult]:
    """Each line of it."""
    engine = DockerApi(patient.env)
    try:
        version = engine.get("/version") or {}
        info = engine.get("/info") or {}
    except DockerApiError as problem:
        yield error("engine", str(problem), problem.fix)
        return
    yield ok("engine", f"Docker {version.get('Version', '?')} at {engine.url}")
    yield _toolkit(info, patient)
    yield _clock(info, patient)
    if patient.project is None:
        return
    try:
        for service in patient.project.services.values():
            yield _image(engine, service)
        makes = _launcher_makes_containers(patient.project.services.values())
        for service in patient.models():
            yield _container(engine, service, makes)
    except DockerApiError as problem:
        yield error("engine", str(problem), problem.fix)


def _toolkit(info: dict[str, Any], patient: DoctorContext) -> CheckResult:
    name = "container toolkit"
    hook = shutil.which("nvidia-container-runtime-hook", path=patient.env.get("PATH"))
    if "nvidia" in (info.get("Runtimes") or {}) or hook:
        return ok(name, "Docker can hand the GPU to containers")
    if any(
        str(one.get("ID", "")).startswith("nvidia.com/gpu") for one in info.get("DiscoveredDevices") or ()
    ):
        return ok(name, "Docker can hand the GPU to containers (CDI)")
    return error(
        name,
        "Docker knows no nvidia runtime",
        "install nvidia-container-toolkit; sudo nvidia-ctk runtime configure; sudo systemctl restart docker",
    )


def _clock(info: dict[str, Any], patient: DoctorContext) -> CheckResult:
    # Docker writes nanoseconds, which Python's parser does not take.
    text = re.sub(r"(\.\d{6})\d*", r"\1", str(info.get("SystemTime", "")))
    try:
        theirs = datetime.fromisoformat(text)
    except ValueError:
        return unknown("clock", "Docker does not say what time it has")
    skew = abs((theirs - datetime.now(UTC)).total_seconds()) if theirs.tzinfo else None
    if skew is None or skew > _SKEW_S:
        return warning(
            "clock",
            "this machine's clock and Docker's differ",
            "sudo hwclock --hctosys (WSL: wsl --shutdown)",
        )
    return ok("clock", "agrees with Docker's")


def _image(engine: DockerApi, service: ComposeService) -> CheckResult:
    name = f"image of {service.name}"
    if engine.image(service.image) is not None:
        return ok(name, service.image)
    verb = "build" if service.name == "launcher" else "pull"
    return warning(
        name, f"{service.image} is not here yet", f"docker compose --profile '*' {verb} {service.name}"
    )


def _launcher_makes_containers(services: Iterable[ComposeService]) -> bool:
    """It has the socket itself; a proxy in between lets it make none."""
    launcher = next((one for one in services if one.name == "launcher"), None)
    return launcher is not None and any(mount.target.endswith("docker.sock") for mount in launcher.mounts)


def _container(engine: DockerApi, service: ComposeService, makes: bool) -> CheckResult:
    """``makes``: the launcher makes what is missing."""
    container = service.container or service.name
    name = f"container {container}"
    found = engine.container(container)
    create = f"docker compose --profile '*' create {service.name}"
    if found is None and makes:
        return ok(name, "does not exist yet: the first request makes it")
    if found is None:
        return warning(name, "does not exist yet, and this launcher may not make it", create)
    policy = ((found.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no"
    if policy != "no":
        return error(name, f"was created with restart: {policy}, which fights the idle stop", create)
    return ok(name, str((found.get("State") or {}).get("Status", "exists")))
