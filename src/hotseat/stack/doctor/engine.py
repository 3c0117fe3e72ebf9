"""Checks of Docker: the Engine, the NVIDIA container toolkit, images, containers, the clock."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hotseat.runtimes.docker.compose import compose_environment
from hotseat.stack.compose.model import ComposeService
from hotseat.stack.compose.reading import config_hashes
from hotseat.stack.doctor.check import CheckResult, error, ok, unknown, warning
from hotseat.stack.doctor.context import DoctorContext
from hotseat.stack.doctor.docker_api import DockerApi, DockerApiError

_MAX_SKEW_S = 5.0


def check_engine(context: DoctorContext) -> Iterator[CheckResult]:
    """Run the checks."""
    engine = DockerApi(context.env)
    try:
        version = engine.get("/version") or {}
        info = engine.get("/info") or {}
    except DockerApiError as problem:
        yield error("engine", str(problem), problem.fix)
        return
    yield ok("engine", f"Docker {version.get('Version', '?')} at {engine.url}")
    yield _toolkit(info, context)
    yield _clock(info, context)
    if context.project is None:
        return
    try:
        for service in context.project.services.values():
            yield _image(engine, service, context.folder)
        creates = _launcher_creates_containers(context.project.services.values())
        hashes = _config_hashes(context)
        for service in context.models():
            yield _container(engine, service, creates, _Made(str(context.folder), hashes.get(service.name)))
    except DockerApiError as problem:
        yield error("engine", str(problem), problem.fix)


def _toolkit(info: dict[str, Any], context: DoctorContext) -> CheckResult:
    name = "container toolkit"
    hook = shutil.which("nvidia-container-runtime-hook", path=context.env.get("PATH"))
    if "nvidia" in (info.get("Runtimes") or {}) or hook:
        return ok(name, "Docker can give containers access to the GPU")
    if any(
        str(one.get("ID", "")).startswith("nvidia.com/gpu") for one in info.get("DiscoveredDevices") or ()
    ):
        return ok(name, "Docker can give containers access to the GPU (CDI)")
    return error(
        name,
        "Docker has no nvidia runtime",
        "install nvidia-container-toolkit; sudo nvidia-ctk runtime configure; sudo systemctl restart docker",
    )


def _clock(info: dict[str, Any], context: DoctorContext) -> CheckResult:
    # Docker writes nanoseconds, which datetime.fromisoformat does not accept.
    text = re.sub(r"(\.\d{6})\d*", r"\1", str(info.get("SystemTime", "")))
    try:
        theirs = datetime.fromisoformat(text)
    except ValueError:
        return unknown("clock", "Docker does not report its time")
    skew = abs((theirs - datetime.now(UTC)).total_seconds()) if theirs.tzinfo else None
    if skew is None or skew > _MAX_SKEW_S:
        return warning(
            "clock",
            f"this machine's clock and Docker's differ by more than {_MAX_SKEW_S:.0f} s",
            "sudo hwclock --hctosys (on WSL: wsl --shutdown)",
        )
    return ok("clock", "in agreement with Docker's")


def _image(engine: DockerApi, service: ComposeService, folder: Path) -> CheckResult:
    name = f"image of {service.name}"
    if engine.image(service.image) is not None:
        return ok(name, service.image)
    if service.name != "launcher":
        fix = f"docker compose --profile '*' pull {service.name}"
    elif (folder / "../../Dockerfile").is_file():
        fix = f"docker compose --profile '*' build {service.name}"
    else:  # the stack was copied to its place, the source was not
        fix = f"in hotseat's source folder: docker build -t {service.image} ."
    return warning(name, f"{service.image} is not on this machine yet", fix)


def _launcher_creates_containers(services: Iterable[ComposeService]) -> bool:
    """Whether the launcher can create containers: it has the socket itself, not the restricted proxy."""
    launcher = next((one for one in services if one.name == "launcher"), None)
    return launcher is not None and any(mount.target.endswith("docker.sock") for mount in launcher.mounts)


@dataclass(frozen=True, slots=True)
class _Made:
    """Labels of a container that was made from the service as it is now."""

    folder: str
    config_hash: str | None

    def differs_from(self, found: dict[str, Any]) -> bool:
        labels = (found.get("Config") or {}).get("Labels") or {}
        made_of = labels.get("com.docker.compose.config-hash")
        here = labels.get("com.docker.compose.project.working_dir") == self.folder
        return bool(here and made_of and self.config_hash and made_of != self.config_hash)


def _config_hashes(context: DoctorContext) -> dict[str, str]:
    if context.compose is None:
        return {}
    return config_hashes(context.compose, context.folder, compose_environment(context.env))


def _container(engine: DockerApi, service: ComposeService, creates: bool, made: _Made) -> CheckResult:
    """``creates``: the launcher creates missing containers."""
    container = service.container or service.name
    name = f"container {container}"
    found = engine.container(container)
    create = f"docker compose --profile '*' create {service.name}"
    if found is None and creates:
        return ok(name, "does not exist yet; the first request creates it")
    if found is None:
        return warning(name, "does not exist, and the launcher is not allowed to create it", create)
    policy = ((found.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no"
    if policy != "no":
        return error(
            name,
            f"was created with restart: {policy}, so Docker restarts it after hotseat has stopped it",
            create,
        )
    if made.differs_from(found):
        later = "; its next start by hotseat creates it anew" if creates else ""
        again = f"docker compose --profile '*' up --no-start --no-deps {service.name}"
        stopped = not (found.get("State") or {}).get("Running")
        by_hand = again if stopped else f"hotseat stop {container} --wait && {again}"
        return warning(
            name, f"was made from other settings than the Compose file and .env have now{later}", by_hand
        )
    return ok(name, str((found.get("State") or {}).get("Status", "exists")))
