"""The Docker Engine is found as the ``docker`` command finds it."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from fakes.dockerd import Dockerd
from hotseat.runtimes.docker import endpoint
from hotseat.runtimes.docker.endpoint import EndpointError, find_endpoint
from hotseat.runtimes.docker.runtime import DockerRuntime
from hotseat.stack.doctor.docker_api import DockerApi, DockerApiError


def context(folder: Path, name: str, host: str, **docker: Any) -> None:
    """Create a context, as ``docker context create`` does."""
    meta = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    found = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, **docker}}}
    (meta / "meta.json").write_text(json.dumps(found))


def use(folder: Path, name: str) -> None:
    """Choose a context, as ``docker context use`` does."""
    (folder / "config.json").write_text(json.dumps({"auths": {}, "currentContext": name}))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with two contexts; there is no Docker at the usual place."""
    docker = tmp_path / ".docker"
    context(docker, "rootless", "unix:///run/user/1000/docker.sock")
    context(docker, "box", "tcp://gpu-box:2375")
    monkeypatch.setattr(endpoint, "USUAL_SOCKET", str(tmp_path / "none.sock"))
    return tmp_path


def found(home: Path, **env: str) -> str:
    return find_endpoint({"HOME": str(home), **env}).url


def test_the_context_in_use_is_followed(home: Path) -> None:
    assert found(home) == "unix:///var/run/docker.sock"
    use(home / ".docker", "rootless")
    assert found(home) == "unix:///run/user/1000/docker.sock"
    use(home / ".docker", "default")
    assert found(home) == "unix:///var/run/docker.sock"


def test_a_variable_wins_over_the_context_in_use_and_docker_host_over_all(home: Path) -> None:
    use(home / ".docker", "rootless")
    assert found(home, DOCKER_CONTEXT="box") == "tcp://gpu-box:2375"
    assert found(home, DOCKER_CONTEXT="default") == "unix:///var/run/docker.sock"
    assert found(home, DOCKER_CONTEXT="box", DOCKER_HOST="unix:///x.sock") == "unix:///x.sock"


def test_the_folder_of_the_configuration_may_be_elsewhere(home: Path, tmp_path: Path) -> None:
    context(tmp_path / "other", "there", "tcp://there")
    use(tmp_path / "other", "there")
    assert found(home, DOCKER_CONFIG=str(tmp_path / "other")) == "tcp://there:2375"


def test_a_rootless_socket_is_used_where_there_is_no_other(home: Path, tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    env = {"XDG_RUNTIME_DIR": str(runtime)}
    assert found(home, **env) == "unix:///var/run/docker.sock"
    with socket.socket(socket.AF_UNIX) as rootless:
        rootless.bind(str(runtime / "docker.sock"))
        assert found(home, **env) == f"unix://{runtime}/docker.sock"
        (tmp_path / "none.sock").touch()
        assert found(home, **env) == "unix:///var/run/docker.sock"


def test_tls_of_a_context_and_of_docker_host(home: Path) -> None:
    docker = home / ".docker"
    context(docker, "safe", "tcp://box:2376", SkipTLSVerify=True)
    folder = docker / "contexts" / "tls" / hashlib.sha256(b"safe").hexdigest() / "docker"
    folder.mkdir(parents=True)
    safe = find_endpoint({"HOME": str(home), "DOCKER_CONTEXT": "safe"})
    assert (safe.url, safe.certificates, safe.verify) == ("https://box:2376", folder, False)
    assert safe.environment() == {"DOCKER_CONTEXT": "safe"}
    assert safe.tls() is not None
    env = {
        "HOME": str(home),
        "DOCKER_HOST": "tcp://box",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": "/certs",
    }
    named = find_endpoint(env)
    assert (named.url, named.certificates) == ("https://box:2376", Path("/certs"))
    assert named.environment()["DOCKER_CERT_PATH"] == "/certs"
    (folder / "ca.pem").write_text("broken")
    with pytest.raises(EndpointError, match="cannot be used"):
        safe.tls()


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"DOCKER_CONTEXT": "gone"}, "the Docker context gone that DOCKER_CONTEXT names does not exist"),
        ({"DOCKER_CONTEXT": "far"}, "the Docker context far has the unsupported scheme ssh"),
        ({"DOCKER_CONTEXT": "odd"}, "the Docker context odd that DOCKER_CONTEXT names cannot be read"),
        ({"DOCKER_HOST": "box:2375"}, "DOCKER_HOST cannot be used: write"),
        ({"DOCKER_HOST": "tcp://box:port"}, "DOCKER_HOST is not an address"),
        ({"DOCKER_HOST": "unix://relative.sock"}, "DOCKER_HOST cannot be used: write"),
    ],
)
def test_what_cannot_be_used_is_told_by_serve_and_doctor(
    env: dict[str, str], message: str, home: Path
) -> None:
    context(home / ".docker", "far", "ssh://me@box")
    context(home / ".docker", "odd", "x")
    (home / ".docker/contexts/meta" / hashlib.sha256(b"odd").hexdigest() / "meta.json").write_text("[]")
    whole = {"HOME": str(home), **env}
    with pytest.raises(EndpointError) as caught:
        find_endpoint(whole)
    assert message in str(caught.value)
    with pytest.raises(DockerApiError) as refused:
        DockerApi(whole).get("/version")
    assert message in str(refused.value)


def test_a_configuration_that_is_not_json_is_as_none(home: Path) -> None:
    (home / ".docker" / "config.json").write_text("{")
    assert found(home) == "unix:///var/run/docker.sock"


@pytest.mark.anyio
async def test_models_are_started_through_the_context_in_use(
    home: Path, dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    context(home / ".docker", "fake", dockerd.url)
    use(home / ".docker", "fake")
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    runtime = DockerRuntime()
    await runtime.open()
    try:
        assert runtime.unusable() is None
    finally:
        await runtime.close()
