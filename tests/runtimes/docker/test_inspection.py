"""What inspected containers and events mean, and what is said where there is no engine to use."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from hotseat.runtimes.base import Handle
from hotseat.runtimes.docker import address, inspection
from hotseat.runtimes.docker.engine import DockerEngine, explain
from hotseat.runtimes.docker.inspection import DockerError, DockerUnavailable, EventEvidence
from hotseat.runtimes.docker.runtime import DockerRuntime
from hotseat.runtimes.docker.spec import DockerSpec

CHAT = DockerSpec(container="chat")
STARTED = "2026-11-23T19:44:30.363288568Z"
NEVER = "0001-01-01T00:00:00Z"
RUN = f"{'a' * 64}@{STARTED}"


def inspected(**state: Any) -> dict[str, Any]:
    """A container; keywords are of its state."""
    return {
        "Id": "a" * 64,
        "Path": "vllm",
        "Args": ["serve", "Qwen/x", "--port", "8123"],
        "State": {
            "Running": False,
            "Paused": False,
            "Restarting": False,
            "OOMKilled": False,
            "Error": "",
            "ExitCode": 0,
            "StartedAt": STARTED,
            "FinishedAt": NEVER,
            **state,
        },
        "Config": {"ExposedPorts": {"9000/tcp": {}}},
        "HostConfig": {"NetworkMode": "llm_inner"},
        "NetworkSettings": {
            "Networks": {"llm_inner": {"NetworkID": "n1", "IPAddress": "10.1.0.2"}},
            "Ports": {},
        },
    }


def ended(evidence: EventEvidence, *, stop_requested: bool = False, **state: Any) -> tuple[str, bool]:
    end = inspection.exit_of(RUN, inspected(**state), evidence, stop_requested=stop_requested, lines=())
    return end.reason.summary, end.outside


@pytest.mark.parametrize(
    ("evidence", "state", "summary", "outside"),
    [
        (EventEvidence(exit_code=0), {}, "exited with code 0", False),
        (EventEvidence(exit_code=3), {}, "exited with code 3", False),
        (EventEvidence(), {"ExitCode": 3}, "exited with code 3", False),
        (EventEvidence(exit_code=137), {}, "killed by signal 9 (SIGKILL)", False),
        (
            EventEvidence(exit_code=0, signal=15, died_at=1.0),
            {},
            "its container was stopped by somebody else",
            True,
        ),
        (EventEvidence(exit_code=0, signal=1, died_at=1.0), {}, "exited with code 0", False),
        (EventEvidence(exit_code=0, signal=15, died_at=9999.0), {}, "exited with code 0", False),
        (EventEvidence(exit_code=137, signal=9), {"OOMKilled": True}, "killed: out of host memory", False),
        (EventEvidence(exit_code=1, oom_at=5.0, died_at=6.0), {}, "killed: out of host memory", False),
        (EventEvidence(exit_code=1, oom_at=5.0, died_at=600.0), {}, "exited with code 1", False),
        (
            EventEvidence(events_missed=True),
            {"ExitCode": 143},
            "its container was stopped while the Docker Engine was unreachable",
            True,
        ),
        (EventEvidence(events_missed=True), {"ExitCode": 3}, "exited with code 3", False),
        (EventEvidence(exit_code=128), {"Error": "cannot mount"}, "cannot mount", False),
    ],
)
def test_why_a_run_ended(evidence: EventEvidence, state: dict[str, Any], summary: str, outside: bool) -> None:
    assert ended(evidence, **state) == (summary, outside)


def test_an_ordered_end_is_not_somebody_elses() -> None:
    assert ended(EventEvidence(exit_code=137, signal=9), stop_requested=True) == ("stopped", False)


def test_the_end_of_a_run_is_not_read_from_the_next_start() -> None:
    later = inspected(StartedAt="2026-11-23T19:45:00Z", ExitCode=7, OOMKilled=True)
    end = inspection.exit_of(RUN, later, EventEvidence(), stop_requested=False, lines=())
    assert end.reason.exit_code is None
    assert not end.reason.oom
    gone = inspection.exit_of(RUN, None, EventEvidence(signal=9), stop_requested=False, lines=("x",))
    assert (gone.reason.summary, gone.outside) == ("its container was removed by somebody else", True)
    assert gone.reason.lines == ("x",)


def test_between_two_tries_of_a_restart_policy_nothing_runs() -> None:
    assert inspection.is_running(inspected(Running=True))
    assert inspection.is_running(inspected(Running=True, Paused=True))
    assert not inspection.is_running(inspected(Running=True, Restarting=True))


def test_a_starts_log_begins_after_the_end_before() -> None:
    two_seconds_before = "1795463068.363288568"
    assert inspection.log_since(inspected()) == two_seconds_before
    assert inspection.log_since(inspected(FinishedAt="2026-11-23T19:44:30.1Z")) == "1795463070.100000000"
    assert inspection.log_since(inspected(FinishedAt="2026-11-23T19:50:00Z")) == two_seconds_before
    assert inspection.log_since(inspected(StartedAt=NEVER)) is None
    ended_since, earlier = (
        inspected(FinishedAt="2026-11-23T19:44:30.5Z"),
        inspected(FinishedAt="2026-11-23T19:44:30.1Z"),
    )
    assert inspection.log_since(ended_since, earlier) == "1795463070.100000000"
    line_read_at = 1795463070.25  # after the process's end, before the die event
    assert inspection.log_since(ended_since, earlier, died_at=line_read_at) == "1795463070.250000000"


@pytest.mark.parametrize(
    ("words", "permanent"),
    [
        ('could not select device driver "nvidia" with capabilities: [[gpu]]', True),
        ("Bind for 0.0.0.0:80 failed: port is already allocated", False),
        ("something else", False),
    ],
)
def test_known_refusals_say_what_to_do(words: str, permanent: bool) -> None:
    reason = inspection.launch_failure(DockerError(500, words))
    assert words in reason.summary
    assert reason.permanent is permanent
    assert (reason.hint is None) is (words == "something else")


HERE = address.NetworkView()


def place(
    found: Mapping[str, Any], spec: DockerSpec = CHAT, vantage: address.NetworkView = HERE
) -> str | None:
    at = address.find(found, spec, vantage)
    return None if at is None else f"{at.host}:{at.port}{at.base_path}"


def test_addresses_on_the_host() -> None:
    found = inspected(Running=True)
    assert place(found) == "10.1.0.2:8123"
    assert place(found, DockerSpec(container="chat", port=1)) == "10.1.0.2:1"
    found["NetworkSettings"]["Ports"] = {"8123/tcp": [{"HostIp": "0.0.0.0", "HostPort": "4000"}]}
    assert place(found) == "127.0.0.1:4000"
    assert place(found, DockerSpec(container="chat", url="http://far:81/base/")) == "far:81/base"
    found["HostConfig"]["NetworkMode"] = "host"
    assert place(found) == "127.0.0.1:8123"


def test_addresses_on_another_machine() -> None:
    far = address.NetworkView(remote_host="box")
    found = inspected(Running=True)
    assert place(found, vantage=far) is None
    found["NetworkSettings"]["Ports"] = {
        "8123/tcp": [{"HostIp": "127.0.0.1", "HostPort": "4000"}, {"HostIp": "::", "HostPort": "4001"}]
    }
    assert place(found, vantage=far) == "box:4001"


def test_addresses_from_inside_a_container() -> None:
    found = inspected(Running=True)
    found["NetworkSettings"]["Ports"] = {"8123/tcp": [{"HostIp": "0.0.0.0", "HostPort": "4000"}]}
    assert place(found, vantage=address.NetworkView(frozenset({"n0", "n1"}))) == "10.1.0.2:8123"
    assert place(found, vantage=address.NetworkView(frozenset({"n0"}))) is None


def test_ports_by_command_image_and_default() -> None:
    found = inspected()
    found["Args"] = ["--port=77"]
    assert address.inner_port(found, CHAT) == 77
    found["Args"] = ["--port", "$PORT"]
    assert address.inner_port(found, CHAT) == 9000
    for nothing in ([], None):
        found["Args"] = nothing
        assert address.inner_port(found, CHAT) == 9000
    found["Config"]["ExposedPorts"] = {"1/tcp": {}, "2/tcp": {}}
    assert address.inner_port(found, CHAT) == 8000


def test_our_own_container_is_told_from_those_beside_us(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = f"629 619 8:1 /var/lib/docker/containers/{'b' * 64}/hostname /etc/hostname rw - ext4 /dev/sda rw"
    beside = f"90 27 0:40 / /var/lib/docker/containers/{'c' * 64}/mounts/shm rw - tmpfs shm rw"
    assert address.own_container(f"{beside}\n{inside}\n") == "b" * 64
    monkeypatch.setattr("socket.gethostname", lambda: "box")
    assert address.own_container(beside) is None
    monkeypatch.setattr("socket.gethostname", lambda: "0123456789ab")
    assert address.own_container(beside) == "0123456789ab"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "denied"), "no permission"),
        (FileNotFoundError(errno.ENOENT, "none"), "there is no Docker Engine"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "is down"),
        (TimeoutError(), "does not answer"),
    ],
)
def test_an_engine_that_cannot_be_asked(error: Exception, words: str) -> None:
    try:
        try:
            raise error
        except Exception:
            raise DockerUnavailable("wrapped")  # noqa: B904 (aiodocker wraps like this)
    except DockerUnavailable as wrapped:
        told = explain("unix:///x", wrapped if not isinstance(error, TimeoutError) else error)
    assert words in told
    assert "unix:///x" in told


def test_no_engine_is_no_error_but_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(url: str) -> str | None:
        monkeypatch.setenv("DOCKER_HOST", url)
        runtime = DockerRuntime()
        await runtime.open()
        why = runtime.unusable()
        assert await runtime.recover({}) == []
        await runtime.close()
        return why

    assert "there is no Docker Engine" in (uvloop.run(story(f"unix://{tmp_path}/none.sock")) or "")
    assert "DOCKER_HOST cannot be used" in (uvloop.run(story("nonsense")) or "")


def test_a_proxy_that_forbids_events_is_told_of(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            body = b'{"ApiVersion": "1.41"}' if b"/version" in head else b'{"message": "Forbidden"}'
            status = b"200 OK" if b"/version" in head else b"403 Forbidden"
            writer.write(
                b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                % (status, len(body), body)
            )

    async def story() -> str | None:
        async with await asyncio.start_unix_server(answer, tmp_path / "proxy.sock"):
            runtime = DockerRuntime(f"unix://{tmp_path}/proxy.sock")
            await runtime.open()
            why = runtime.unusable()
            await runtime.close()
            return why

    told = asyncio.run(story())
    assert told is not None
    assert "refuses: Forbidden" in told
    assert "events" in told


def test_remote_engines_are_told_from_ours() -> None:
    async def hosts() -> list[str | None]:
        engines = [DockerEngine(url) for url in ("unix:///x", "tcp://127.0.0.1:1", "tcp://box:2375")]
        found = [engine.remote_host for engine in engines]
        for engine in engines:
            await engine.close()
        return found

    assert asyncio.run(hosts()) == [None, None, "box"]


def test_a_url_that_is_not_plain_http_is_refused() -> None:
    with pytest.raises(ValueError, match="https://x"):
        address.from_url("https://x")


def test_nothing_of_the_http_client_is_imported_for_others() -> None:
    code = "import sys, hotseat.app; sys.exit(bool({'aiohttp', 'aiodocker'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys, hotseat.runtimes.docker.runtime; sys.exit('aiohttp' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unopened_runtime_refuses() -> None:
    async def story() -> None:
        runtime = DockerRuntime()
        assert runtime.unusable() is not None
        assert [found async for found in runtime.watch()] == []
        with pytest.raises(DockerUnavailable):
            await runtime.wait(Handle("chat", 1, RUN, "127.0.0.1", 1))
        assert await runtime.tail("chat", 1) == []

    asyncio.run(story())
