"""Containers that Compose makes for us, as it would make them for itself."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from fakes import containers
from fakes.dockerd import IMAGE, Dockerd
from hotseat.core.spec import ComposeSpec
from hotseat.runtimes.base import LaunchError
from hotseat.runtimes.docker.runtime import DockerRuntime
from runtimes.contract import written

pytestmark = pytest.mark.system("dockerd", "docker", "iptables", "ip")


@pytest.fixture
def project(dockerd: Dockerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Compose file with a model, one on which it depends, and a stranger; Compose is at hand."""
    chat = containers.command("$WHO", says=("price: $$5",))
    services = {
        "chat-service": {
            "container_name": "chat",
            "profiles": ["chat"],
            "depends_on": ["side"],
            "command": chat,
            "volumes": ["./data:/data", "cache:/cache"],
            "environment": {"VLLM_API_KEY": "${VLLM_API_KEY}"},
            "networks": ["inner"],
            "stop_grace_period": "7s",
        },
        "side": {"container_name": "side", "command": ["sleep", "600"], "networks": ["inner"]},
        "stranger": {"container_name": "stranger", "command": ["sleep", "600"], "networks": ["outer"]},
    }
    for service in services.values():
        service["image"] = IMAGE
    networks = {"inner": {"internal": True}, "outer": {}}
    file = tmp_path / "compose.yml"
    file.write_text(json.dumps({"services": services, "networks": networks, "volumes": {"cache": {}}}))
    (tmp_path / ".env").write_text("WHO=chat\nVLLM_API_KEY=from-dotenv\n")
    for name, value in dockerd.env.items():
        monkeypatch.setenv(name, value)
    # What hotseat itself was started with is nobody else's business.
    monkeypatch.setenv("VLLM_API_KEY", "of-hotseat")
    monkeypatch.setenv("WHO", "of-hotseat")
    return file


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def play(story: Callable[[DockerRuntime], Awaitable[None]]) -> None:
    async def told() -> None:
        runtime = DockerRuntime()  # finds the engine by DOCKER_HOST
        await runtime.open()
        try:
            await story(runtime)
        finally:
            await runtime.close()

    uvloop.run(told())


def names(dockerd: Dockerd, *options: str) -> set[str]:
    return set(dockerd.docker("ps", "--format", "{{.Names}}", *options).stdout.split())


def test_a_missing_container_is_made_and_nothing_else(dockerd: Dockerd, project: Path) -> None:
    model = containers.model("chat", ComposeSpec(file=str(project), project="llm"))

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.start(model, 1)
        assert names(dockerd, "-a") == {"chat"}
        await written(runtime, handle, "price: $5")
        before = dockerd.inspect("chat")
        config = before["Config"]
        assert isinstance(config, dict)
        assert "VLLM_API_KEY=from-dotenv" in config["Env"]
        dockerd.docker(
            *("compose", "-f", str(project), "-p", "llm", "--profile", "chat", "up", "-d"), cwd=project.parent
        )
        assert dockerd.inspect("chat")["Id"] == before["Id"]
        assert dockerd.inspect("chat")["State"] == before["State"]
        assert names(dockerd) == {"chat", "side", "stranger"}
        await runtime.stop(handle, 1)

    play(story)


def test_what_is_there_is_not_touched(dockerd: Dockerd, project: Path) -> None:
    """Neither what it depends on, nor what differs from the file by now."""
    dockerd.docker("compose", "-f", str(project), "up", "-d", "side", "stranger")
    project.write_text(project.read_text().replace('"600"', '"601"'))
    before = {name: dockerd.inspect(name)["Id"] for name in ("side", "stranger")}
    model = containers.model("chat", ComposeSpec(file=str(project), service="chat-service"))

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.start(model, 1)
        assert {name: dockerd.inspect(name)["Id"] for name in before} == before
        await runtime.stop(handle, 1)

    play(story)


def test_the_command_is_known_before_the_container(dockerd: Dockerd, project: Path) -> None:
    model = containers.model("chat", ComposeSpec(file=str(project)))

    async def story(runtime: DockerRuntime) -> None:
        planned = await runtime.command_of(model)
        assert planned == tuple(containers.command("chat", says=("price: $5",)))
        handle = await runtime.start(model, 1)
        assert await runtime.command_of(model) == planned
        assert await runtime.grace_of(model) == 7.0
        await runtime.stop(handle, 1)

    play(story)


def test_a_project_that_does_not_know_it(dockerd: Dockerd, project: Path) -> None:
    async def story(runtime: DockerRuntime) -> None:
        with pytest.raises(LaunchError) as caught:
            await runtime.start(containers.model("coder", ComposeSpec(file=str(project))), 1)
        assert caught.value.reason.permanent
        assert "container_name: coder" in caught.value.reason.summary
        assert "chat-service, side, stranger" in (caught.value.reason.hint or "")
        missing = ComposeSpec(file=str(project.with_name("none.yml")))
        with pytest.raises(LaunchError) as caught:
            await runtime.start(containers.model("chat", missing), 1)
        assert "none.yml" in caught.value.reason.summary
        assert not names(dockerd, "-a")

    play(story)


def test_without_compose_the_command_to_run_is_named(
    dockerd: Dockerd, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(project.parent))
    spec = ComposeSpec(file=str(project), project="llm", profiles=("chat",), service="chat-service")

    async def story(runtime: DockerRuntime) -> None:
        with pytest.raises(LaunchError) as caught:
            await runtime.start(containers.model("chat", spec), 1)
        assert caught.value.reason.permanent
        assert caught.value.reason.hint == (
            f"run: docker compose --file {project} --project-name llm --profile chat "
            "up --no-start --no-deps --no-recreate chat-service"
        )

    play(story)


def test_files_on_top_of_each_other(dockerd: Dockerd, project: Path) -> None:
    """As in COMPOSE_FILE: the second file changes what the first one says."""
    override = project.with_name("override.yml")
    override.write_text(json.dumps({"services": {"chat-service": {"command": containers.command("other")}}}))
    model = containers.model("chat", ComposeSpec(file=f"{project}:{override}"))

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.start(model, 1)
        assert await runtime.command_of(model) == tuple(containers.command("other"))
        await runtime.stop(handle, 1)

    play(story)


def test_an_edited_compose_file_is_told_and_the_next_start_makes_the_container_anew(
    dockerd: Dockerd, project: Path
) -> None:
    model = containers.model("chat", ComposeSpec(file=str(project)))

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.start(model, 1)
        first = dockerd.inspect("chat")["Id"]
        assert await runtime.outdated(model) is None
        edit(project, "price: $$5", "price: $$6")
        assert await runtime.outdated(model) == (
            "its container was made from other settings than compose.yml and .env have now"
        )
        # While it runs, its own command counts; once it has stopped, that of its next start.
        assert await runtime.command_of(model) == tuple(containers.command("chat", says=("price: $5",)))
        await runtime.stop(handle, 1)
        assert await runtime.command_of(model) == tuple(containers.command("chat", says=("price: $6",)))
        handle = await runtime.start(model, 2)
        assert dockerd.inspect("chat")["Id"] != first
        await written(runtime, handle, "price: $6")
        assert await runtime.outdated(model) is None
        await runtime.stop(handle, 1)

    play(story)


def test_an_edited_env_file_is_told_and_an_unchanged_container_is_kept(
    dockerd: Dockerd, project: Path
) -> None:
    model = containers.model("chat", ComposeSpec(file=str(project)))

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.start(model, 1)
        first = dockerd.inspect("chat")["Id"]
        await runtime.stop(handle, 1)
        handle = await runtime.start(model, 2)
        assert dockerd.inspect("chat")["Id"] == first
        await runtime.stop(handle, 1)
        edit(project.with_name(".env"), "from-dotenv", "another")
        assert await runtime.outdated(model) is not None
        handle = await runtime.start(model, 3)
        config = dockerd.inspect("chat")["Config"]
        assert isinstance(config, dict)
        assert "VLLM_API_KEY=another" in config["Env"]
        await runtime.stop(handle, 1)

    play(story)


def test_an_override_given_by_hand_still_counts(dockerd: Dockerd, project: Path) -> None:
    override = project.with_name("override.yml")
    override.write_text(json.dumps({"services": {"chat-service": {"labels": {"a": "b"}}}}))
    files = ("-f", str(project), "-f", str(override))
    dockerd.docker("compose", *files, "--profile", "chat", "create", "chat-service", cwd=project.parent)
    first = dockerd.inspect("chat")["Id"]
    model = containers.model("chat", ComposeSpec(file=str(project)))

    async def story(runtime: DockerRuntime) -> None:
        assert await runtime.outdated(model) is None
        handle = await runtime.start(model, 1)
        assert dockerd.inspect("chat")["Id"] == first
        await runtime.stop(handle, 1)

    play(story)


def test_a_file_that_compose_cannot_read_any_more_stops_no_start(dockerd: Dockerd, project: Path) -> None:
    model = containers.model("chat", ComposeSpec(file=str(project)))

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.start(model, 1)
        first = dockerd.inspect("chat")["Id"]
        await runtime.stop(handle, 1)
        edit(project, '"services"', "{")
        handle = await runtime.start(model, 2)
        assert dockerd.inspect("chat")["Id"] == first
        await runtime.stop(handle, 1)

    play(story)


def test_a_container_that_compose_did_not_make_is_left_alone(dockerd: Dockerd, project: Path) -> None:
    dockerd.docker("create", "--name", "chat", IMAGE, *containers.command("chat"))
    model = containers.model("chat", ComposeSpec(file=str(project)))

    async def story(runtime: DockerRuntime) -> None:
        assert await runtime.outdated(model) is None

    play(story)
