"""Rules about exposure: published ports, networks, secrets in files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hotseat.secret_names import can_be_secret, is_secret_name
from hotseat.stack.lint.findings import Found, LintedStack, LintRule

_SECRET_TEXT = re.compile(r"\bhf_[A-Za-z0-9]{20,}|\bsk-[A-Za-z0-9_-]{20,}")


def _ports(stack: LintedStack) -> Iterator[Found]:
    for service in stack.models():
        if service.published:
            ports = ", ".join(service.published)
            yield ("services", service.name, "ports"), service.name, f"publishes a port ({ports})"
        if service.network_mode == "host":
            key = ("services", service.name, "network_mode")
            yield key, service.name, "uses the host's network, which exposes all its ports"


def _other_ports(stack: LintedStack) -> Iterator[Found]:
    models = {one.name for one in stack.models()}
    for service in stack.project.services.values():
        if service.name != "launcher" and service.name not in models and service.published:
            ports = ", ".join(service.published)
            yield (
                ("services", service.name, "ports"),
                service.name,
                f"publishes {ports} in addition to the launcher",
            )


def _dev_mode(stack: LintedStack) -> Iterator[Found]:
    for service in stack.project.services.values():
        mode = service.environment.get("VLLM_SERVER_DEV_MODE", "0")
        if mode not in ("", "0") and (service.published or service.network_mode == "host"):
            key = ("services", service.name, "environment")
            yield (
                key,
                service.name,
                "VLLM_SERVER_DEV_MODE exposes /sleep and /collective_rpc on a published port",
            )


def _networks(stack: LintedStack) -> Iterator[Found]:
    launcher = stack.project.services.get("launcher")
    for service in stack.models():
        key = ("services", service.name, "networks")
        if service.network_mode:
            continue
        for network in service.networks:
            if network not in stack.project.internal:
                yield key, service.name, f"its network `{network}` is not internal"
        if launcher and not set(service.networks) & set(launcher.networks):
            yield key, service.name, "shares no network with the launcher"


def _secrets(stack: LintedStack) -> Iterator[Found]:
    """Check the text as written, before variables are replaced; messages never contain the value."""
    for name, service in (stack.written.data.get("services") or {}).items():
        if not isinstance(service, dict):
            continue
        environment = service.get("environment")
        for index, (variable, value) in enumerate(_pairs(environment)):
            if _is_secret(variable, value):
                part = variable if isinstance(environment, dict) else index
                yield (
                    ("services", name, "environment", part),
                    name,
                    f"contains the value of {variable}",
                )
        command = service.get("command")
        words = command if isinstance(command, list) else str(command or "").split()
        for index, word in enumerate(map(str, words)):
            flag, sign, value = word.partition("=")
            value = value if sign else str(next(iter(words[index + 1 : index + 2]), ""))
            if flag.startswith("-") and not value.startswith("-") and _is_secret(flag, value):
                yield ("services", name, "command"), name, f"contains the value of {flag}"
        for key, text in _texts(service, ("services", name)):
            if _SECRET_TEXT.search(text):
                yield key, name, "contains text that looks like a token"


def _is_secret(name: str, value: str) -> bool:
    """Whether this is a secret in plain text, rather than a reference to a variable."""
    return is_secret_name(name) and can_be_secret(value) and "$" not in value


def _pairs(environment: Any) -> Iterator[tuple[str, str]]:
    if isinstance(environment, list):
        for item in environment:
            name, _, value = str(item).partition("=")
            yield name, value
    elif isinstance(environment, dict):
        for name, value in environment.items():
            yield str(name), "" if value is None else str(value)


def _texts(value: Any, key: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield key, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from _texts(inner, (*key, name))


RULES = (
    LintRule(
        name="published-port",
        severity="error",
        about="A model that publishes a port or uses the host's network: requests could bypass the "
        "launcher's keys and limits, and vLLM's own key does not protect all of its paths.",
        fix="remove it; the launcher reaches models through their network",
        check=_ports,
    ),
    LintRule(
        name="other-port",
        severity="warning",
        about="A service other than the launcher that publishes a port. Fine for a reverse proxy, if the "
        "launcher then listens on 127.0.0.1 only.",
        fix="remove the port, or bind the launcher to 127.0.0.1 behind this proxy",
        check=_other_ports,
    ),
    LintRule(
        name="dev-mode",
        severity="error",
        about="`VLLM_SERVER_DEV_MODE` together with a published port: anyone could put the model to sleep or "
        "call methods of its workers.",
        fix="remove the port or VLLM_SERVER_DEV_MODE",
        check=_dev_mode,
    ),
    LintRule(
        name="network",
        severity="error",
        about="A model on a network that is not internal, or that shares no network with the launcher.",
        fix="connect it and the launcher to a network with `internal: true`",
        check=_networks,
    ),
    LintRule(
        name="secret",
        severity="error",
        about="A key, token or password in a Compose file.",
        fix="move it to .env, write ${NAME} here, and replace it with a new one",
        check=_secrets,
    ),
)
