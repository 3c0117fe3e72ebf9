"""hotseat killed at every transition, without descriptors, without a disk, and under too many clients."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import resource
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes.engine import command as engine_command
from fakes.hotseat import LIMIT_S, Hotseat, serving
from fakes.wire import Wire, read_message
from hotseat.runtimes.process import procfs

pytestmark = pytest.mark.system


@contextmanager
def running(made: Hotseat) -> Iterator[Hotseat]:
    yield from serving(made)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Hotseat]:
    """One model; the engine keeps book of second copies."""
    made = Hotseat(tmp_path, {"chat": ["--overlap-log", str(tmp_path / "overlap")]})
    yield made
    made.sweep()


def copies(made: Hotseat) -> list[str]:
    text = (made.folder / "overlap").read_text()
    return [json.loads(line)["event"] for line in text.splitlines()]


# kill -9


def killed_at(made: Hotseat, moment: str) -> int:
    """Bring it to this moment and kill it; returns the pid of the model's server."""
    made.start()
    if moment == "starting":
        asked = http.client.HTTPConnection("127.0.0.1", made.port, timeout=LIMIT_S)
        asked.request(
            "POST", "/chat/v1/completions", '{"model":"chat"}', {"Content-Type": "application/json"}
        )
        made.told(lambda line: line["event"] == "starting")
        deadline = time.monotonic() + LIMIT_S
        while not made.engines():
            assert time.monotonic() < deadline
        asked.close()
    elif moment == "serving":
        assert made.ask("chat").status == 200
    elif moment == "streaming":
        wire = http.client.HTTPConnection("127.0.0.1", made.port, timeout=LIMIT_S)
        body = json.dumps({"model": "chat", "stream": True})
        wire.request("POST", "/chat/v1/completions", body, {"Content-Type": "application/json"})
        assert wire.getresponse().read(5) == b"data:"
        wire.close()
    else:
        assert made.ask("chat").status == 200
        stop = threading.Thread(target=_post_stop, args=[made])
        stop.start()
        made.told(lambda line: line["event"] == "stopping")
        stop.join(0.2)
    (pid,) = made.engines()
    made.kill()
    return pid


def _post_stop(made: Hotseat) -> None:
    try:
        made.send("POST", "/admin/stop", {"route": "chat", "wait": True})
    except (OSError, http.client.HTTPException):
        return  # it was killed meanwhile


@pytest.mark.parametrize(
    ("moment", "options"),
    [
        ("starting", ["--start-s", "1"]),
        ("serving", []),
        ("streaming", ["--tokens", "50", "--token-interval-s", "0.02"]),
        ("stopping", ["--ignores-stop"]),
    ],
)
def test_after_kill_9_the_model_is_adopted_and_there_is_no_second_copy(
    made: Hotseat, moment: str, options: list[str]
) -> None:
    options = ["--overlap-log", str(made.folder / "overlap"), *options]
    made.write({"chat": {"options": options, "stop_grace": "1s"}})
    pid = killed_at(made, moment)
    assert made.engines() == [pid]
    with running(made):
        answer = made.ask("chat")
        assert answer.status == 200
        assert answer.pid == pid
    assert copies(made) in (["start"], ["start", "stop"])


def test_after_kill_9_what_is_configured_no_more_is_swept(made: Hotseat) -> None:
    killed_at(made, "serving")
    made.write({"coder": ["--overlap-log", str(made.folder / "overlap")]})
    with running(made):
        assert made.ask("coder").status == 200
        assert len(made.engines()) == 1
    assert copies(made).count("overlap") == 0


def test_after_kill_9_what_is_configured_otherwise_is_started_anew(made: Hotseat) -> None:
    pid = killed_at(made, "serving")
    made.write({"chat": ["--overlap-log", str(made.folder / "overlap"), "--tokens", "2"]})
    with running(made):
        made.told(lambda line: line.get("cause") == "configured")  # it is idle, so it goes at once
        assert made.ask("chat").pid != pid
    assert copies(made).count("overlap") == 0


SLEEPER = {"engine": "vllm", "served_name": "chat", "sleep": 1, "idle": "300ms", "health_every": "300ms"}


def test_a_sleeper_left_by_kill_9_sleeps_on_and_is_woken_for_a_request(made: Hotseat) -> None:
    made.write({"chat": {"options": ["--tells-calls"], **SLEEPER}})
    made.start()
    pid = made.ask("chat").pid
    made.moved("chat", "asleep")
    made.kill()
    since = len(made.lines)
    with running(made):
        assert made.moved("chat", "asleep", since)["cause"] == "adopted"
        answer = made.ask("chat")
        assert (answer.status, answer.pid) == (200, pid)
        assert made.told(lambda line: line["event"] == "waking", since)["cause"] == "demand"


def test_after_kill_9_between_waking_and_awake_there_is_no_second_copy(made: Hotseat) -> None:
    made.write(
        {"chat": {"options": ["--wake-s", "1", "--overlap-log", str(made.folder / "overlap")], **SLEEPER}}
    )
    made.start()
    pid = made.ask("chat").pid
    made.moved("chat", "asleep")
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(made.ask, "chat")
        made.told(lambda line: line["event"] == "waking")
        made.kill()
        assert isinstance(lost.exception(), OSError | http.client.HTTPException)
    with running(made):
        answer = made.ask("chat")
        assert (answer.status, answer.pid) == (200, pid)
    assert copies(made).count("overlap") == 0


def test_one_that_falls_asleep_after_kill_9_is_found_out_and_started_anew(made: Hotseat) -> None:
    """It was awake when it was found; nobody's request may be parked for ever."""
    options = ["--tells-calls", "--sleep-s", "3"]
    made.write({"chat": {"options": options, **SLEEPER}})
    made.start()
    pid = made.ask("chat").pid
    log = made.state / "logs" / "chat.log"
    deadline = time.monotonic() + LIMIT_S
    while "call POST /sleep" not in log.read_text():
        assert time.monotonic() < deadline
    made.kill()
    made.write({"chat": {"options": options, **SLEEPER, "idle": 0}})
    since = len(made.lines)
    with running(made):
        made.moved("chat", "ready", since)
        told = made.told(lambda line: line.get("cause") == "unhealthy", since)
        assert "it sleeps" in told["reason"]
        answer = made.ask("chat")
        assert answer.status == 200
        assert answer.pid != pid


def test_after_kill_9_while_it_drains_the_stream_has_ended_and_the_model_is_adopted(made: Hotseat) -> None:
    options = ["--tokens", "100", "--token-interval-s", "0.02"]
    made.write({"chat": {"options": options}})
    made.start()
    with ThreadPoolExecutor(2) as pool:
        stream = pool.submit(made.ask, "chat", stream=True)
        made.until("chat", lambda stats: stats["in_flight"] == 1)
        stop = pool.submit(_post_stop, made)
        made.told(lambda line: line["event"] == "draining")
        (pid,) = made.engines()
        made.kill()
        assert isinstance(stream.exception(), OSError | http.client.HTTPException)
        stop.result()
    with running(made):
        answer = made.ask("chat")
        assert (answer.status, answer.pid) == (200, pid)
        assert made.engines() == [pid]


def test_after_kill_9_in_a_back_off_the_next_request_tries_again(made: Hotseat) -> None:
    made.write({"chat": ["--fails-until", str(made.folder / "tried")]})
    made.start()
    assert made.ask("chat").status == 503
    made.told(lambda line: line["event"] == "backoff")
    made.kill()
    assert made.engines() == []
    with running(made):
        assert made.ask("chat").status == 200


# Disk


def test_a_full_disk_is_no_reason_not_to_serve(made: Hotseat) -> None:
    """What the model writes cannot be kept, nor how long its start took."""
    (made.state / "logs").mkdir(parents=True, mode=0o700)
    for name in ("logs/chat.log", "history.sqlite3"):
        (made.state / name).symlink_to("/dev/full")
    with running(made):
        assert made.ask("chat").status == 200
        made.told(lambda line: "kept in memory only" in line.get("trouble", ""))


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A disk of its own, a small one."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.system("mount")
def test_a_disk_that_fills_up_ends_nothing(tmp_path: Path) -> None:
    """Served on, started anew, recovered from: only what would have been kept is lost."""
    with disk(tmp_path / "state") as state:
        made = Hotseat(tmp_path, {"chat": [], "coder": ["--says", "much to say" * 500]})
        with running(made):
            pid = made.ask("chat").pid
            with contextlib.suppress(OSError), open(state / "fill", "wb", buffering=0) as fill:
                while True:
                    fill.write(b"x" * 4096)
            assert made.ask("chat").pid == pid
            assert made.ask("coder").status == 200
            os.kill(pid, signal.SIGKILL)
            made.told(lambda line: line.get("cause") == "crashed")
            assert made.ask("chat").status == 200
            (state / "fill").unlink()
            assert made.send("POST", "/admin/stop", {"route": "coder", "wait": True}).status == 200
            assert made.ask("coder").status == 200


@pytest.mark.system("mount")
def test_a_disk_that_is_read_only_is_said(tmp_path: Path) -> None:
    with disk(tmp_path / "state") as state:
        subprocess.run(["mount", "-o", "remount,ro", state], check=True)
        made = Hotseat(tmp_path, {"chat": []})
        with running(made):
            answer = made.ask("chat")
            assert (answer.status, answer.error["code"]) == (503, "runtime_unavailable")
            assert "cannot write to the state directory" in answer.error["message"]
            assert "Read-only file system" in answer.error["message"]
        subprocess.run(["mount", "-o", "remount,rw", state], check=True)
        with running(made):
            assert made.ask("chat").status == 200


# The clock, and the driver: modules of ours in hotseat's own process


CLOCK = """
import time
_real = time.time
def _told():
    try:
        return _real() + float(open({path!r}).read() or 0)
    except OSError:
        return _real()
time.time = _told
"""


def test_a_clock_that_is_set_back_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    set_to = tmp_path / "clock"
    (tmp_path / "modules" / "sitecustomize.py").write_text(CLOCK.format(path=str(set_to)))
    terms = {"options": ["--start-s", "0.3"], "idle": "1s"}
    made = Hotseat(tmp_path, {"chat": terms}, env={"PYTHONPATH": str(tmp_path / "modules")})
    with running(made):
        assert made.ask("chat").status == 200
        set_to.write_text("-90000")  # a day and an hour
        assert made.ask("chat").status == 200
        made.moved("chat", "stopped")  # it is idle all the same
        assert made.ask("chat").status == 200
        stats = made.model("chat")
        assert stats["starts"] == 2
        assert all(0.3 <= took_s < LIMIT_S for took_s in stats["spin_up_s"]), stats
        set_to.write_text("90000")
        assert made.ask("chat").status == 200
        made.moved("chat", "stopped", len(made.lines) - 1)


NVML = """
class NVMLError(Exception):
    pass
class _Memory:
    total = 24 * 2**30
    @property
    def free(self):
        return int(float(open({path!r}).read()) * 2**30)
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetMemoryInfo(device): return _Memory()
def nvmlDeviceGetName(device): return "NVIDIA of the tests"
def nvmlDeviceGetUtilizationRates(device): raise NVMLError("not supported")
"""


def test_the_next_start_waits_until_the_memory_is_really_back(tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    free = tmp_path / "free"
    free.write_text("2.0")
    (tmp_path / "modules" / "pynvml.py").write_text(NVML.format(path=str(free)))
    made = Hotseat(tmp_path, {"chat": {"footprint": 0.9}}, env={"PYTHONPATH": str(tmp_path / "modules")})
    with running(made), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(made.ask, "chat")
        made.told(lambda line: line["event"] == "starting")
        time.sleep(0.5)
        assert made.engines() == []
        assert not asked.done()
        free.write_text("23.5")
        assert asked.result().status == 200


# Descriptors


def test_without_descriptors_it_refuses_calmly_keeps_its_models_and_recovers(tmp_path: Path) -> None:
    made = Hotseat(tmp_path, {"chat": {"health_every": "500ms"}, "late": []}, files=64)
    with running(made):
        pid = made.ask("chat").pid
        crowd = [socket.create_connection(("127.0.0.1", made.port)) for _ in range(120)]
        try:
            time.sleep(3)  # six health checks come due meanwhile, and none can be made
        finally:
            for one in crowd:
                one.close()
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                answer = made.ask("chat")
                break
            except OSError:
                assert time.monotonic() < deadline
        assert (answer.status, answer.pid) == (200, pid)
        assert made.ask("late").status == 200
        assert len(made.lines) < 200  # it does not cry for each of them


# Too many clients


def test_two_thousand_at_once_on_a_cold_model_make_one_start_and_all_are_answered(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 10_000:
        pytest.fail(f"this test needs 10000 descriptors and may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 10_000), hard))
    made = Hotseat(
        tmp_path, {"chat": {"options": ["--start-s", "1"], "max_in_flight": 16}}, files=10_000
    )  # one address may have half

    async def one(port: int) -> int:
        async with await Wire.open(port) as wire:
            await wire.ask("/chat/v1/chat/completions", b'{"model":"chat"}')
            async with asyncio.timeout(LIMIT_S):
                return (await read_message(wire.reader)).status

    async def crowd(port: int) -> list[int]:
        return await asyncio.gather(*(one(port) for _ in range(2000)))

    with running(made):
        assert asyncio.run(crowd(made.port)) == [200] * 2000
        stats = made.until("chat", lambda stats: stats["in_flight"] == 0)
        assert (stats["starts"], stats["requests"], stats["waiting"]) == (1, 2000, 0)


def test_a_storm_of_retries_does_not_become_a_storm_of_starts(tmp_path: Path) -> None:
    made = Hotseat(tmp_path, {"chat": ["--start-fails"], "good": []})
    with running(made):
        until = time.monotonic() + 2.5
        statuses: list[int] = []

        def storm(_: int) -> None:
            while time.monotonic() < until:
                statuses.append(made.ask("chat").status)

        with ThreadPoolExecutor(8) as pool:
            stormy = pool.map(storm, range(8))
            assert made.ask("good").status == 200
            list(stormy)
        assert set(statuses) == {503}
        assert len(statuses) > 50
        assert made.model("chat")["starts"] <= 3  # at 0 s, after 1 s, and after 2 more


def test_a_slow_reader_slows_its_own_stream_and_costs_no_memory(tmp_path: Path) -> None:
    made = Hotseat(tmp_path, {"chat": ["--tokens", "50000"]})
    with running(made):
        assert made.process is not None
        before = _rss_kib(made.process.pid)
        wire = http.client.HTTPConnection("127.0.0.1", made.port, timeout=LIMIT_S)
        wire.connect()
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        body = json.dumps({"model": "chat", "stream": True})
        wire.request("POST", "/chat/v1/completions", body, {"Content-Type": "application/json"})
        response = wire.getresponse()
        assert response.read(5) == b"data:"
        time.sleep(1)  # long enough for the whole answer, if nothing held it back
        assert made.model("chat")["in_flight"] == 1
        assert _rss_kib(made.process.pid) - before < 8 * 1024
        rest = response.read()
        assert rest.endswith(b"data: [DONE]\n\n")
        assert len(rest) > 5_000_000
        made.until("chat", lambda stats: stats["in_flight"] == 0)


def _rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.parametrize("phase", ["header", "body", "waiting", "stream"])
def test_clients_that_leave_in_any_phase_leave_nothing_behind(tmp_path: Path, phase: str) -> None:
    made = Hotseat(
        tmp_path,
        {
            "chat": {
                "options": ["--tokens", "500", "--token-interval-s", "0.02"],
                "max_in_flight": 2,
            }
        },
    )
    head = b"POST /chat/v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    body = json.dumps({"model": "chat", "stream": True}).encode()
    whole = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    sent = {"header": head[:40], "body": whole[:-10], "waiting": whole, "stream": whole}[phase]
    with running(made):
        assert made.process is not None
        holders = []
        if phase == "waiting":  # both places are taken
            holders = [_open(made.port, whole) for _ in range(2)]
            made.until("chat", lambda stats: stats["in_flight"] == 2)
        before = len(os.listdir(f"/proc/{made.process.pid}/fd"))
        leavers = [_open(made.port, sent) for _ in range(20)]
        if phase == "waiting":
            made.until("chat", lambda stats: stats["waiting"] == 20)
        if phase == "stream":
            made.until("chat", lambda stats: stats["in_flight"] == 2)
        for one in (*leavers, *holders):
            one.close()
        made.until("chat", lambda stats: (stats["in_flight"], stats["waiting"]) == (0, 0))
        deadline = time.monotonic() + LIMIT_S
        while len(os.listdir(f"/proc/{made.process.pid}/fd")) > before + 8:  # the model's own, and a pool
            assert time.monotonic() < deadline


def _open(port: int, data: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(data)
    return sock


# The configuration read again


def test_a_reload_leaves_alone_what_is_as_it_was(tmp_path: Path) -> None:
    slow = ["--tokens", "40", "--token-interval-s", "0.05"]
    made = Hotseat(tmp_path, {"chat": slow, "coder": [], "old": []})
    with running(made):
        pids = {name: made.ask(name).pid for name in ("chat", "coder", "old")}
        with ThreadPoolExecutor(1) as pool:
            stream = pool.submit(made.ask, "chat", stream=True)
            made.until("chat", lambda stats: stats["in_flight"] == 1)
            made.write({"chat": slow, "coder": ["--tokens", "2"], "new": []})
            answer = made.send("POST", "/admin/reload", {})
            assert answer.json == {
                "status": "ok",
                "added": ["new"],
                "removed": ["old"],
                "changed": ["coder"],
                "needs_restart": [],
                "outdated": [],
            }
            assert stream.result().body.endswith(b"data: [DONE]\n\n")
        assert made.ask("chat").pid == pids["chat"]
        assert made.ask("coder").pid != pids["coder"]
        assert made.ask("new").status == 200
        assert made.send("POST", "/old/v1/completions", {"model": "old"}).status == 404
        assert pids["old"] not in made.engines()


def test_a_bad_file_changes_nothing_and_says_why(tmp_path: Path) -> None:
    made = Hotseat(tmp_path, {"chat": []})
    with running(made):
        pid = made.ask("chat").pid
        good = made.file.read_text()
        made.file.write_text(good + "idel: 5m\n")
        answer = made.send("POST", "/admin/reload", {})
        assert (answer.status, answer.error["code"]) == (400, "invalid_config")
        assert "idel: unknown key (did you mean idle?)" in answer.error["message"]
        assert answer.json["problems"][0] in answer.error["message"]
        said = made.command("reload")
        assert said.returncode == 1
        assert "nothing was changed" in said.stderr
        assert made.process is not None
        made.process.send_signal(signal.SIGHUP)
        made.told(lambda line: line["event"] == "configuration not reloaded", since=len(made.lines) - 1)
        made.file.unlink()
        assert made.send("POST", "/admin/reload", {}).status == 400
        assert made.ask("chat").pid == pid
        made.file.write_text(good)
        assert made.command("reload").stdout == "Reloaded.\n"


def test_sighup_and_a_watched_file_reload_too(tmp_path: Path) -> None:
    made = Hotseat(tmp_path, {"chat": []})
    with running(made):
        assert made.process is not None
        made.write({"chat": [], "one": []}, watch_config=True)
        made.process.send_signal(signal.SIGHUP)
        made.told(lambda line: line.get("added") == ["one"])
        made.write({"chat": [], "one": [], "two": []}, watch_config=True)
        made.told(lambda line: line.get("added") == ["two"])
        assert made.ask("two").status == 200
        made.write({"chat": []}, listen="127.0.0.1:1", watch_config=False)
        made.told(lambda line: line.get("removed") == ["one", "two"])
        assert made.ask("chat").status == 200


def test_keys_that_the_servers_want_are_read_anew(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("UPSTREAM_API_KEY=first-key-of-all\n")
    # A key that its command does not name: such a one would be sent to it.
    words = shlex.join(engine_command(name="chat")).replace("'{port}'", "{port}")
    script = f"exec {words} --api-key $(echo second-key)-of-all"
    terms: dict[str, Any] = {"command": ["sh", "-c", script]}
    made = Hotseat(tmp_path, {"chat": terms}, env={"HOTSEAT_ENV_FILE": str(env)})
    with running(made):
        assert made.ask("chat").status == 401
        env.write_text("UPSTREAM_API_KEY=second-key-of-all\n")
        assert made.command("reload").returncode == 0
        assert made.ask("chat").status == 200
        assert "key-of-all" not in json.dumps(made.lines)


# The end


def test_sigterm_lets_streams_end_and_leaves_no_process(tmp_path: Path) -> None:
    made = Hotseat(tmp_path, {"chat": ["--tokens", "20", "--token-interval-s", "0.05"]})
    with running(made), ThreadPoolExecutor(1) as pool:
        stream = pool.submit(made.ask, "chat", stream=True)
        made.until("chat", lambda stats: stats["in_flight"] == 1)
        assert made.stop() == 0
        assert stream.result().body.endswith(b"data: [DONE]\n\n")
        assert made.engines() == []
        assert procfs.stat(made.process.pid if made.process else 0) is None
