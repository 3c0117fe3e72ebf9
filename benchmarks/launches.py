"""Rows that start hotseat themselves: readiness, admission cost by number of models, start-up time."""

from __future__ import annotations

import http.client
import json
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench import Bench, Result
from benchmarks.measure import cpu_ns, quantile
from benchmarks.proxies import (
    KEY,
    Cores,
    Target,
    Unavailable,
    free_port,
    hotseat,
    hotseat_config,
    running,
    serve_command,
    upstream_command,
    wait_until_listening,
)

START_TIMES_S = (0.1, 0.3, 0.9, 1.1, 2.0, 3.3)
MODELS = (1, 100, 1000)


def readiness(bench: Bench) -> None:
    """Time from the server's ``listen()`` to the first byte of the held request, measured by the server.

    Each start time falls into another phase of probing. Every model takes the whole budget, so each
    request also stops the previous model.
    """
    place = bench.folder / "readiness"
    place.mkdir()
    port = free_port()
    config = place / "hotseat.yaml"
    config.write_text(_readiness_config(bench.cores, place, port))
    log = place / "hotseat.log"
    lags: list[float] = []
    with running(serve_command(config), bench.cores.proxy, log, {"VLLM_API_KEY": KEY}) as process:
        wait_until_listening(port, process, log)
        for _ in range(bench.rounds(3)):
            for start_s in START_TIMES_S:
                notes = place / f"first-{start_s}.jsonl"
                before = _lines(notes)
                _ask(port, f"/m{start_s}")
                (noted,) = _lines(notes)[len(before) :]
                lags.append(json.loads(noted)["lag_ns"] / 1e6)
                bench.record(f"readiness.{start_s}s_ms", "hotseat", lags[-1])
    bench.record("readiness.p50_ms", "hotseat", quantile(lags, 0.5))
    bench.record("readiness.max_ms", "hotseat", quantile(lags, 1.0))


def _readiness_config(cores: Cores, place: Path, port: int) -> str:
    models = {}
    for start_s in START_TIMES_S:
        notes = ["--listen-after", str(start_s), "--first-byte-file", str(place / f"first-{start_s}.jsonl")]
        models[f"m{start_s}"] = {
            "command": upstream_command("{port}", cores, *notes),
            "served_name": "fake",
            "path": f"/m{start_s}",
            "residency": 0,
        }
    return json.dumps({"listen": f"127.0.0.1:{port}", "state_dir": str(place / "state"), "models": models})


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _ask(port: int, prefix: str) -> None:
    body = json.dumps({"model": "fake", "messages": [{"role": "user", "content": "?"}]}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    url = f"http://127.0.0.1:{port}{prefix}/v1/chat/completions"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
        answer.read()


def admission(bench: Bench) -> None:
    """CPU time per request with 1, 100 and 1,000 configured models."""
    with ExitStack() as stack:
        targets = []
        for models in MODELS:
            started = hotseat(
                bench.cores, bench.folder, name=f"hotseat-{models}", models=models, policies=bench.policies
            )
            targets.append(stack.enter_context(started)[0])

        def once(target: Target) -> Result:
            return bench.load.do("requests", target, count=32, window_s=1.0, settle_s=0.2)

        for found in bench.interleave(targets, bench.rounds(6), once):
            for models in MODELS:
                spent = found[f"hotseat-{models}"]["cpu_us_per_request"]
                bench.record(f"admission.{models}_models_us", "hotseat", spent)


def startup(bench: Bench) -> None:
    """Time from the start of ``hotseat serve`` to the first 200 on ``/healthz``, polled every 2 ms."""
    for models in (1, 1000):
        for number in range(bench.rounds(6)):
            place = bench.folder / f"startup-{models}-{number}"
            place.mkdir()
            port = free_port()
            config = place / "hotseat.yaml"
            config.write_text(
                hotseat_config(bench.cores, place, port, models=models, policies=bench.policies)
            )
            log = place / "hotseat.log"
            began = time.monotonic()
            with running(serve_command(config), bench.cores.proxy, log, {"VLLM_API_KEY": KEY}) as process:
                while not _healthy(port):
                    if process.poll() is not None or time.monotonic() - began > 120:
                        raise Unavailable(f"hotseat serve did not start:\n{log.read_text()[-2000:]}")
                    time.sleep(0.002)
                bench.record(f"startup.{models}_models_s", "hotseat", time.monotonic() - began)
                spent = cpu_ns([process.pid]) / 1e9
                bench.record(f"startup.{models}_models_cpu_s", "hotseat", spent)


def _healthy(port: int) -> bool:
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        asked.request("GET", "/healthz")
        return asked.getresponse().status == 200
    except OSError:
        return False
    finally:
        asked.close()
