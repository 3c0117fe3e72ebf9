"""The instruments measure what they say: the fake server's answers, the load's counts, the verdicts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.bench import Bench, Load, load_process
from benchmarks.measure import children, cpu_ns, median, quantile, rss_kib
from benchmarks.plots import draw
from benchmarks.proxies import (
    Cores,
    Target,
    Unavailable,
    free_port,
    peer,
    running,
    upstream_command,
    wait_until_listening,
)

from benchmarks import fake_upstream, report

CORES = Cores.pick()


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    with load_process(CORES) as process:
        yield process


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("upstream")
    port = free_port()
    with running(upstream_command(port, CORES), CORES.load, folder / "log") as process:
        wait_until_listening(port, process, folder / "log")
        yield Target("direct", "127.0.0.1", port, (process.pid,))


def test_the_answer_has_500_bytes() -> None:
    head, _, body = fake_upstream.ANSWER.partition(b"\r\n\r\n")
    assert len(body) == 500
    assert b"content-length: 500" in head


def test_the_request_has_600_bytes(direct: Target, load: Load) -> None:
    from benchmarks.load import Order

    for more in ({}, {"rate": 50.0}, {"chunks": 4000}):
        request = Order("127.0.0.1", 1, "/v1/chat/completions", [], **more).request()
        assert len(request.partition(b"\r\n\r\n")[2]) == 600


def test_a_flood_counts_every_chunk(direct: Target, load: Load) -> None:
    result = load.do("flood", direct, count=3, chunks=500)
    assert result["errors"] == 0
    assert result["cpu_us_per_chunk"] > 0


def test_paced_streams_come_at_their_pace(direct: Target, load: Load) -> None:
    result = load.do("streams", direct, count=8, rate=20, window_s=1.0, latencies=True)
    assert result["errors"] == 0
    assert result["chunks"] > 0
    assert result["delivered"] < 1.2, "more than was ordered"
    assert 0 < result["latency_p50_us"] <= result["latency_p99_us"] <= result["latency_max_us"]


def test_every_stream_of_a_churn_ends_well(direct: Target, load: Load) -> None:
    assert load.do("churn", direct, count=5, total=60, chunks=3)["errors"] == 0


def test_first_tokens_are_timed(direct: Target, load: Load) -> None:
    result = load.do("first_token", direct, chunks=2, total=20)
    assert result["errors"] == 0
    assert 0 < result["ttft_p50_us"] <= result["ttft_p99_us"]


def test_requests_are_counted(direct: Target, load: Load) -> None:
    result = load.do("requests", direct, count=4, window_s=0.2, settle_s=0.05)
    assert result["errors"] == 0
    assert result["requests_per_s"] > 0
    assert result["cpu_us_per_request"] > 0


REFUSING = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    peer, _ = listener.accept()
    peer.recv(65536)
    if sys.argv[2] == "502":
        peer.sendall(b"HTTP/1.1 502 Bad Gateway\\r\\ncontent-length: 0\\r\\n\\r\\n")
    peer.close()
"""


@pytest.mark.parametrize("fault", ["502", "hang-up"])
def test_what_fails_is_an_error(fault: str, load: Load, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", REFUSING, str(port), fault]
    with running(command, CORES.load, tmp_path / "log") as process:
        wait_until_listening(port, process, tmp_path / "log")
        target = Target("refusing", "127.0.0.1", port, (process.pid,))
        assert load.do("requests", target, count=2, window_s=0.1, settle_s=0.1)["errors"] == 2
        assert load.do("streams", target, count=2, rate=5, window_s=0.1, settle_s=0.1)["errors"] == 2
        assert load.do("churn", target, count=2, total=6, chunks=3)["errors"] == 6
        assert load.do("flood", target, count=2, chunks=3)["errors"] == 2


def test_the_lag_is_measured_by_the_server(tmp_path: Path, load: Load) -> None:
    notes = tmp_path / "lag.jsonl"
    port = free_port()
    command = upstream_command(port, CORES, "--first-byte-file", str(notes))
    with running(command, CORES.load, tmp_path / "log") as process:
        wait_until_listening(port, process, tmp_path / "log")
        began = time.monotonic()
        target = Target("direct", "127.0.0.1", port, (process.pid,))
        load.do("first_token", target, chunks=2, total=2)
        took_s = time.monotonic() - began
    (line,) = notes.read_text().splitlines()
    found = re.fullmatch(r'\{"lag_ns": (\d+)\}', line)
    assert found, line
    assert 0 < int(found[1]) / 1e9 < took_s + 20


def test_cpu_and_memory_are_a_process_own() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "sum(range(10**6)); input()"], stdin=subprocess.PIPE
    ) as child:
        assert child.pid in children(os.getpid())
        while cpu_ns([child.pid]) == 0:
            time.sleep(0.001)
        assert rss_kib([child.pid]) > 0
        assert child.stdin is not None
        child.stdin.close()


def test_quantiles_and_medians() -> None:
    assert quantile([5, 1, 4, 2, 3], 0.5) == 3
    assert quantile(range(1, 101), 0.99) == 99
    assert quantile([1, 2], 1.0) == 2
    assert median([4, 1, 2, 3]) == 2.5
    assert median([]) != median([])  # NaN: nothing was measured


def test_rounds_are_interleaved(tmp_path: Path, direct: Target, load: Load) -> None:
    bench = Bench(CORES, tmp_path, load, direct, [direct], policies=False, quick=True)
    order: list[str] = []
    targets = [Target(name, "127.0.0.1", 1, ()) for name in "abc"]

    def once(target: Target) -> dict[str, float]:
        order.append(target.name)
        return {}

    assert len(list(bench.interleave(targets, 3, once))) == 3
    assert "".join(order) == "abcbcacab"
    assert bench.rounds(9) == 3


FIGURES = {
    "requests_32.cpu_us_per_request": {"nginx": [19.0, 21.0, 20.0], "hotseat": [61.0, 59.0, 60.0]},
    "streams_64.cpu_us_per_chunk": {"nginx": [10.0], "hotseat": [19.0]},
    "memory.rest_mib": {"hotseat": [71.0]},
}


def test_the_table_says_ratio_and_verdict(tmp_path: Path) -> None:
    head, requests, chunks, memory = report.rows(FIGURES)
    assert head == ["metric", "nginx", "hotseat", "hotseat / nginx", "goal"]
    assert requests[1:] == ["20.0 (19.0–21.0)", "60.0 (59.0–61.0)", "3.00", "times nginx 3: met"]
    assert chunks[3:] == ["1.90", "times nginx 1.8: MISSED"]
    assert memory[1:] == ["", "71.0", "", "at most 70: MISSED"]
    path = tmp_path / "kept.jsonl"
    report.write_lines(path, {"cpu": "x"}, FIGURES)
    assert report.read_lines(path) == ({"cpu": "x"}, FIGURES)
    drawn = draw(FIGURES, tmp_path)
    assert [one.name for one in drawn] == [
        "requests_32-cpu_us_per_request.svg",
        "streams_64-cpu_us_per_chunk.svg",
    ]
    assert ">goal<" in drawn[0].read_text()


def test_a_peer_is_named_with_its_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = peer(f"other=http://127.0.0.1:9000/chat/,{child.pid}", CORES)
        assert found == Target("other", "127.0.0.1", 9000, (child.pid,), "/chat")
        assert os.sched_getaffinity(child.pid) == {CORES.proxy}
        assert child.stdin is not None
        child.stdin.close()
    with pytest.raises(Unavailable, match="write NAME="):
        peer("other=http://127.0.0.1:9000", CORES)
