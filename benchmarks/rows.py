"""Rows of the table that compare proxies: requests, streams, memory."""

from __future__ import annotations

import time

from benchmarks.bench import Bench, Result
from benchmarks.measure import cpu_ns, rss_kib
from benchmarks.proxies import Target


def requests_1(bench: Bench) -> None:
    """One connection in a closed loop."""
    _requests(bench, 1, window_s=1.0, rounds=6)


def requests_32(bench: Bench) -> None:
    """32 connections in a closed loop, which saturate the proxy's core or the load's."""
    _requests(bench, 32, window_s=1.0, rounds=9)


def _requests(bench: Bench, connections: int, *, window_s: float, rounds: int) -> None:
    def once(target: Target) -> Result:
        return bench.load.do("requests", target, count=connections, window_s=window_s, settle_s=0.2)

    row = f"requests_{connections}"
    for found in bench.interleave([bench.direct, *bench.targets], bench.rounds(rounds), once):
        base = found.pop("direct")
        for name, result in found.items():
            for key in ("cpu_us_per_request", "requests_per_s", "busy", "errors"):
                bench.record(f"{row}.{key}", name, result[key])
            for key in ("p50", "p99"):
                bench.record(f"{row}.added_{key}_us", name, result[f"{key}_us"] - base[f"{key}_us"])


def streams_64(bench: Bench) -> None:
    """64 streams at 50 chunks per second each, at equal distances."""
    _streams(bench, 64, rounds=6)


def streams_512(bench: Bench) -> None:
    """512 streams at 50 chunks per second each: an overload."""
    _streams(bench, 512, rounds=3)


def _streams(bench: Bench, count: int, *, rounds: int) -> None:
    def once(target: Target) -> Result:
        return bench.load.do("streams", target, count=count, rate=50, window_s=1.5, latencies=True)

    row = f"streams_{count}"
    for found in bench.interleave([bench.direct, *bench.plain()], bench.rounds(rounds), once):
        base = found.pop("direct")
        for name, result in found.items():
            for key in ("cpu_us_per_chunk", "busy", "delivered", "errors"):
                bench.record(f"{row}.{key}", name, result[key])
            for key in ("p50", "p99"):
                added = result[f"latency_{key}_us"] - base[f"latency_{key}_us"]
                bench.record(f"{row}.added_{key}_us", name, added)


def flood(bench: Bench) -> None:
    """Eight streams as fast as they go."""

    def once(target: Target) -> Result:
        return bench.load.do("flood", target, count=8, chunks=4000)

    for found in bench.interleave(bench.plain(), bench.rounds(6), once):
        for name, result in found.items():
            for key in ("cpu_us_per_chunk", "chunks_per_s", "busy", "errors"):
                bench.record(f"flood.{key}", name, result[key])


def first_token(bench: Bench) -> None:
    """Time from a request to the first event of its response, on an otherwise idle proxy."""

    def once(target: Target) -> Result:
        return bench.load.do("first_token", target, chunks=2, total=200)

    for found in bench.interleave([bench.direct, *bench.plain()], bench.rounds(6), once):
        base = found.pop("direct")
        for name, result in found.items():
            bench.record("first_token.errors", name, result["errors"])
            for key in ("p50", "p99"):
                added = result[f"ttft_{key}_us"] - base[f"ttft_{key}_us"]
                bench.record(f"first_token.added_{key}_us", name, added)


def idle(bench: Bench) -> None:
    """CPU time without work: a ready model, no requests."""
    pause_s = 3.0

    def once(target: Target) -> Result:
        before = cpu_ns(target.pids)
        time.sleep(pause_s)
        return {"cpu_ms_per_s": (cpu_ns(target.pids) - before) / 1e6 / pause_s}

    for found in bench.interleave(bench.plain(), bench.rounds(3), once):
        for name, result in found.items():
            bench.record("idle.cpu_ms_per_s", name, result["cpu_ms_per_s"])


def memory(bench: Bench) -> None:
    """Memory at rest, with 2,000 open streams, and after 20,000 finished streams."""
    total = 4000 if bench.quick else 20_000
    for target in bench.plain():
        bench.record("memory.rest_mib", target.name, rss_kib(target.pids) / 1024)
        held = bench.load.do("streams", target, count=2000, rate=1, window_s=1)
        grown = held["rss_open_kib"] - held["rss_before_kib"]
        bench.record("memory.per_stream_kib", target.name, grown / 2000)
        settled = bench.load.do("churn", target, count=200, total=1000, chunks=3)["rss_after_kib"]
        after = bench.load.do("churn", target, count=200, total=total, chunks=3)
        bench.record("memory.growth_mib", target.name, (after["rss_after_kib"] - settled) / 1024)
        bench.record("memory.cpu_us_per_stream", target.name, after["cpu_us_per_stream"])
        bench.record("memory.errors", target.name, held["errors"] + after["errors"])


def many_streams(bench: Bench) -> None:
    """5,000 concurrent streams, one chunk per second each."""

    def once(target: Target) -> Result:
        return bench.load.do(
            "streams", target, count=5000, rate=1, window_s=5, settle_s=1, ramp=1500, latencies=True
        )

    for found in bench.interleave(bench.plain(), 1, once):
        for name, result in found.items():
            for key in ("errors", "delivered", "cpu_us_per_chunk", "latency_p99_us", "busy"):
                bench.record(f"streams_5000.{key}", name, result[key])
