"""vLLM's sleep protocol: the order of calls, what is measured, and every way in which it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from hotseat.core.spec import ModelSpec, SchedulingSpec, SleepSpec
from hotseat.probing.gpu import GpuReading
from hotseat.probing.sleep_mode import SleepError, SleepMode, is_sleeping, post
from hotseat.runtimes.base import Handle
from hotseat.runtimes.process.spec import ProcessSpec

HANDLE = Handle("chat", 1, "x", "127.0.0.1", 1, "/base")
TOTAL_MIB = 10_000


def model(level: int = 1) -> ModelSpec:
    seat = SchedulingSpec(name="chat", footprint={"0": 800_000}, sleep=SleepSpec(level=level))
    return ModelSpec(
        name="chat",
        scheduling=seat,
        launch=ProcessSpec(command=("x",)),
        served_names=("org/chat",),
        upstream_key="the key",
    )


class Server:
    """Notes the calls; answers 200 unless told otherwise."""

    def __init__(self, **statuses: int) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.headers: Mapping[str, str] = {}
        self.statuses = statuses
        self.free_mib = [1_000]
        """What the GPU has free, before each call and after the last one."""
        self.reads = 0

    def call(self, handle: Handle, path: str, body: Any, headers: Mapping[str, str]) -> int:
        self.calls.append((path, body))
        self.headers = headers
        word = path.strip("/").partition("?")[0].rpartition("/")[2]
        status = self.statuses.get(word, 200)
        if status == 0:
            raise OSError("connection refused")
        return status

    def read(self) -> dict[str, GpuReading]:
        free = self.free_mib[min(self.reads, len(self.free_mib) - 1)]
        self.reads += 1
        return {"0": GpuReading(device="0", name="x", total_mib=TOTAL_MIB, free_mib=free, busy_percent=None)}


def sleep(server: Server, level: int = 1, *, measured: bool = False) -> Mapping[str, int] | None:
    return asyncio.run(SleepMode(server if measured else None, server.call).sleep(model(level), HANDLE))


def wake(server: Server, level: int = 1) -> None:
    asyncio.run(SleepMode(None, server.call).wake(model(level), HANDLE))


WARM_UP = ("/v1/completions", {"model": "org/chat", "prompt": "1", "max_tokens": 1, "temperature": 0})


def test_level_1() -> None:
    server = Server()
    assert sleep(server) is None
    assert server.calls == [("/sleep?level=1&mode=wait", None)]
    server = Server()
    wake(server)
    assert server.calls == [("/wake_up", None), WARM_UP]
    assert server.headers == {"Authorization": "Bearer the key"}


def test_level_2_reads_the_weights_before_the_cache_comes_back() -> None:
    server = Server()
    sleep(server, 2)
    assert server.calls == [("/sleep?level=2&mode=wait", None)]
    server = Server()
    wake(server, 2)
    assert server.calls == [
        ("/wake_up?tags=weights", None),
        ("/collective_rpc", {"method": "reload_weights"}),
        ("/wake_up?tags=kv_cache", None),
        ("/reset_prefix_cache", None),
        WARM_UP,
    ]


def test_what_it_still_takes_is_measured() -> None:
    server = Server()
    server.free_mib = [1_000, 8_300]
    assert sleep(server, measured=True) == {"0": 70_000}


def test_one_that_frees_too_little_is_not_worth_its_sleep() -> None:
    server = Server()
    server.free_mib = [1_000, 4_900]
    with pytest.raises(SleepError, match="sleep freed only 3900 MiB of GPU 0"):
        sleep(server, measured=True)


@pytest.mark.parametrize(
    ("status", "words"), [(500, "/sleep answered HTTP 500"), (0, "/sleep failed: connection refused")]
)
def test_one_that_will_not_sleep(status: int, words: str) -> None:
    with pytest.raises(SleepError, match=words):
        sleep(Server(sleep=status))


def test_a_server_without_sleep_mode_is_told_how_to_get_it() -> None:
    with pytest.raises(SleepError) as caught:
        sleep(Server(sleep=404))
    assert "--enable-sleep-mode" in str(caught.value.reason.hint)


@pytest.mark.parametrize("word", ["wake_up", "collective_rpc", "reset_prefix_cache", "completions"])
def test_a_wake_that_fails_at_any_call_goes_no_further(word: str) -> None:
    server = Server(**{word: 500})
    with pytest.raises(SleepError):
        wake(server, 2)
    assert word in server.calls[-1][0]


def test_a_server_that_completes_no_text_is_awake_all_the_same() -> None:
    wake(Server(completions=404))


@pytest.mark.parametrize("said", [True, False])
def test_whether_a_run_sleeps_is_asked_and_changes_nothing(said: bool) -> None:
    server = Server()
    sleeper = SleepMode(None, server.call, lambda handle: said)
    assert asyncio.run(sleeper.asleep(HANDLE)) is said
    assert not server.calls


def test_nobody_there_is_not_asleep_and_cannot_be_called() -> None:
    assert not is_sleeping(HANDLE)
    with pytest.raises(OSError, match="refused"):
        post(HANDLE, "/sleep", None, {})
