"""The runtime ``docker``: a model is a container of the Docker Engine."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from hotseat.core.spec import ComposeSpec
from hotseat.runtimes.base import Runtime
from hotseat.runtimes.docker.keys import ComposeConfig, DockerKeys, DockerTopKeys
from hotseat.runtimes.docker.spec import DockerSpec
from hotseat.runtimes.kind import KeySection, RuntimeKind, WrittenLaunch


def _resolve(written: WrittenLaunch[DockerKeys, DockerTopKeys]) -> DockerSpec:
    model, at, problems = written.model, written.path, written.problems
    if not model.container and not problems.tainted((*at, "container")):
        problems.problem(at, "has runtime docker but names no container", "add container: NAME")
    if model.url is not None and not _is_base_url(model.url):
        problems.problem((*at, "url"), "expected a URL such as http://10.0.0.5:8000")
    return DockerSpec(
        container=model.container or "",
        compose=_compose(written),
        url=model.url,
        port=model.port,
        devices=written.devices,
        every_device=written.every_device,
    )


def _compose(written: WrittenLaunch[DockerKeys, DockerTopKeys]) -> ComposeSpec | None:
    own, shared = written.model.compose, written.top.compose
    compose, base = own or shared, shared or ComposeConfig()
    if compose is None:
        return None
    file = compose.file or base.file
    if not file:
        path = (*written.path, "compose") if own else ("compose",)
        if not written.problems.tainted(path):
            written.problems.problem(path, "does not name a Compose file", "add file: docker-compose.yml")
        return None
    return ComposeSpec(
        file=written.file(file),
        project=compose.project or base.project,
        profiles=compose.profiles or base.profiles,
        service=compose.service,
    )


def _is_base_url(url: str) -> bool:
    """Whether this is plain HTTP to a host, with no more than a port and a path."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme == "http" and bool(parts.hostname) and (parts.port or 80) > 0
    except ValueError:
        return False
    return valid and not (parts.query or parts.fragment or parts.username or parts.password)


def _create(state_dir: Path) -> Runtime:
    from hotseat.runtimes.docker.runtime import DockerRuntime

    return DockerRuntime(gates=state_dir / "container-gates")


KIND = RuntimeKind(
    name="docker",
    model_keys=DockerKeys,
    top_keys=DockerTopKeys,
    sections=(
        KeySection(
            key="compose",
            title="`compose` and `models.NAME.compose`",
            about="The Compose project that defines a container. A model takes the keys that it leaves out "
            "from the top of the file.",
            keys=ComposeConfig,
        ),
    ),
    selecting_key="container",
    example="container: NAME",
    resolve=_resolve,
    create=_create,
)
