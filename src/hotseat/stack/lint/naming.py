"""Rules about names: containers, profiles, images, and whether they match ``hotseat.yaml``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hotseat.stack.compose.model import ComposeService
from hotseat.stack.lint.findings import Found, LintedStack, LintRule


def _container_names(stack: LintedStack) -> Iterator[Found]:
    seen: dict[str, str] = {}
    for service in stack.project.services.values():
        key = ("services", service.name, "container_name")
        written = _written(stack, service, "container_name")
        if not service.container:
            yield key, service.name, "has no container_name, so Compose would choose one"
        elif "$" in str(written or "").replace("$$", ""):
            yield key, service.name, "its container_name depends on a variable"
        elif service.container in seen:
            yield key, service.name, f"has the same container_name as {seen[service.container]}"
        if service.container:
            seen.setdefault(service.container, service.name)


def _profiles(stack: LintedStack) -> Iterator[Found]:
    for service in stack.models():
        if not service.profiles:
            yield ("services", service.name), service.name, "has no profile, so `docker compose up` starts it"
    launcher = stack.project.services.get("launcher")
    if launcher and "launcher" not in launcher.profiles:
        yield ("services", "launcher"), "launcher", "does not have the profile `launcher`"


def _launcher(stack: LintedStack) -> Iterator[Found]:
    if "launcher" not in stack.project.services:
        yield ("services",), None, "there is no service `launcher`"


def _images(stack: LintedStack) -> Iterator[Found]:
    for service in stack.project.services.values():
        name, _, tag = service.image.partition("@")[0].rpartition(":")
        pinned = "@sha256:" in service.image or (name and "/" not in tag and tag not in ("latest", "nightly"))
        if service.image and not pinned:
            yield (
                ("services", service.name, "image"),
                service.name,
                f"{service.image} is not pinned to a version",
            )


def _unknown_containers(stack: LintedStack) -> Iterator[Found]:
    for container, model in stack.containers().items():
        if stack.project.by_container(container) is None:
            message = f"no service has the container `{container}` of model `{model}` in hotseat.yaml"
            yield ("services",), None, message


def _unrouted(stack: LintedStack) -> Iterator[Found]:
    named = stack.containers()
    for service in stack.models() if stack.settings else ():
        if service.container not in named:
            key = ("services", service.name)
            yield key, service.name, f"no model in hotseat.yaml uses the container `{service.container}`"


def _compose_profiles(stack: LintedStack) -> Iterator[Found]:
    for model in stack.settings.models.values() if stack.settings else ():
        compose = model.launch.compose_project
        service = stack.project.by_container(model.launch.container_name or "")
        if compose is None or service is None:
            continue
        if compose.service and compose.service != service.name:
            message = (
                f"hotseat.yaml names the service `{compose.service}` for the container `{service.container}`"
            )
            yield ("services", service.name), service.name, message
        for profile in compose.profiles:
            if profile not in service.profiles:
                message = f"does not have the profile `{profile}`, which hotseat.yaml names"
                yield ("services", service.name, "profiles"), service.name, message


def _written(stack: LintedStack, service: ComposeService, option: str) -> Any:
    written = (stack.written.data.get("services") or {}).get(service.name)
    return written.get(option) if isinstance(written, dict) else None


RULES = (
    LintRule(
        name="container-name",
        severity="error",
        about="A service whose `container_name` is missing, depends on a variable, or is not unique.",
        fix="set a fixed name: container_name: NAME",
        check=_container_names,
    ),
    LintRule(
        name="profile",
        severity="error",
        about="A model without a profile, which a plain `docker compose up` would start; or a launcher "
        "without the profile `launcher`.",
        fix="give it a profile of its own: profiles: [NAME]",
        check=_profiles,
    ),
    LintRule(
        name="launcher",
        severity="warning",
        about="A project without a service named `launcher`.",
        fix="name hotseat's service `launcher`, or add the file that defines it with -f",
        check=_launcher,
    ),
    LintRule(
        name="image-tag",
        severity="warning",
        about="An image whose tag names no version, so that it can change unnoticed.",
        fix="pin a version: NAME:vX.Y.Z",
        check=_images,
    ),
    LintRule(
        name="unknown-container",
        severity="error",
        about="A model in `hotseat.yaml` with a container that no service defines.",
        fix="use the same name for `container:` in hotseat.yaml and `container_name:` here",
        check=_unknown_containers,
    ),
    LintRule(
        name="unrouted",
        severity="error",
        about="A model server that is missing from `hotseat.yaml`: no request reaches it, and its GPU memory "
        "is not counted.",
        fix="add it to hotseat.yaml, or remove the service",
        check=_unrouted,
    ),
    LintRule(
        name="compose-of-model",
        severity="error",
        about="A model in `hotseat.yaml` whose `compose:` names another service, or a profile that its "
        "service does not have.",
        fix="correct `compose:` in hotseat.yaml, or the service here",
        check=_compose_profiles,
    ),
)
