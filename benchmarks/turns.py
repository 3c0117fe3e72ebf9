"""Two models that cannot run together, clients in a closed loop: how many answers, and who waits how long.

    make turns    (or: PYTHONPATH=tests python -m benchmarks.turns [--seconds 60])

The real program with its default configuration, the fake engine (start 2 s, service 0.2 s) behind it.
A third figure: while one model takes 10 s to stop, how much longer other models' requests take.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fakes.hotseat import Hotseat, serving
from fakes.wire import Wire, read_message

START_S, SERVICE_S = 2.0, 0.2
STOP_S = 10.0
MIXES: Mapping[str, Mapping[str, int]] = {"1 + 1": {"chat": 1, "coder": 1}, "4 + 1": {"chat": 4, "coder": 1}}
WANTED = {"1 + 1": 200, "4 + 1": 600}
WAIT_S = 15.0


@contextmanager
def running(made: Hotseat) -> Iterator[Hotseat]:
    yield from serving(made)


async def client(port: int, model: str, until: float, waits: dict[str, list[float]]) -> None:
    """Ask, read the answer, ask again; a connection for each request, as a script does."""
    body = json.dumps({"model": model}).encode()
    while (began := time.monotonic()) < until:
        async with await Wire.open(port) as wire:
            await wire.ask("/v1/chat/completions", body)
            answer = await read_message(wire.reader)
        if answer.status != 200:
            raise RuntimeError(f"{model}: {answer.status} {answer.body!r}")
        waits[model].append(time.monotonic() - began - SERVICE_S)


async def loop(port: int, mix: Mapping[str, int], seconds: float) -> dict[str, list[float]]:
    """All clients of a mix, for so long."""
    waits: dict[str, list[float]] = {model: [] for model in mix}
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for model, count in mix.items():
            for _ in range(count):
                group.create_task(client(port, model, until, waits))
    return waits


def turns(folder: Path, name: str, seconds: float) -> bool:
    """One mix; prints its row and says whether it is good enough (for 60 seconds)."""
    terms = {
        "options": ["--start-s", str(START_S), "--service-s", str(SERVICE_S), "--tokens", "1"],
        "footprint": 0.9,
    }
    made = Hotseat(folder, {"chat": terms, "coder": terms})
    with running(made) as hotseat:
        waits = asyncio.run(loop(hotseat.port, MIXES[name], seconds))
        starts = {model: hotseat.model(model)["starts"] for model in waits}
    answers = sum(map(len, waits.values()))
    longest = max(map(max, waits.values()))
    for model, each in waits.items():
        print(
            f"{name}  {model:6} {MIXES[name][model]} client(s): {len(each):4} answers, "
            f"{starts[model]:2} starts, wait p50 {statistics.median(each):6.3f} s, longest {max(each):6.3f} s"
        )
    good = answers >= WANTED[name] * seconds / 60 and longest <= WAIT_S
    print(
        f"{name}  {answers} answers (wanted {WANTED[name] * seconds / 60:.0f}), longest wait {longest:.1f} s "
        f"(at most {WAIT_S:g}): {'good' if good else 'NOT GOOD ENOUGH'}"
    )
    return good


def beside_a_slow_stop(folder: Path) -> None:
    """Another model's requests before, and while, one model takes 10 s to stop."""
    made = Hotseat(
        folder,
        {"good": ["--tokens", "1"], "deaf": {"options": ["--ignores-stop"], "stop_grace": f"{STOP_S}s"}},
    )
    with running(made) as hotseat:
        for model in ("good", "deaf"):
            hotseat.ask(model)
        before = sorted(_times(hotseat, STOP_S / 2))
        stop = threading.Thread(
            target=hotseat.send, args=["POST", "/admin/stop", {"route": "deaf", "wait": True}]
        )
        stop.start()
        hotseat.until("deaf", lambda stats: stats["state"] == "stopping")
        during = sorted(_times(hotseat, STOP_S / 2))
        still = hotseat.model("deaf")["state"]
        stop.join()
    for name, each in (("before", before), ("during", during)):
        print(
            f"slow stop  {name}: {len(each)} requests, p50 {each[len(each) // 2] * 1e3:.2f} ms, "
            f"p99 {each[len(each) * 99 // 100] * 1e3:.2f} ms, longest {each[-1] * 1e3:.2f} ms"
        )
    later = (during[len(during) // 2] - before[len(before) // 2]) * 1e3
    print(f"slow stop  {later:+.2f} ms in the middle; at the end of the measurement the model was {still}")


def _times(hotseat: Hotseat, seconds: float) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", hotseat.port, timeout=60)
    times, until = [], time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        connection.request("POST", "/good/v1/completions", '{"model":"good"}', _JSON)
        connection.getresponse().read()
        times.append(time.monotonic() - began)
        time.sleep(0.002)
    connection.close()
    return times


_JSON = {"Content-Type": "application/json"}


def main() -> int:
    """Measure and print; the exit status is 1 when a figure is not good enough."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turns", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    good = []
    with tempfile.TemporaryDirectory(prefix="hotseat-turns-") as folder:
        for number, name in enumerate(MIXES):
            place = Path(folder, str(number))
            place.mkdir()
            good.append(turns(place, name, args.seconds))
        place = Path(folder, "stop")
        place.mkdir()
        beside_a_slow_stop(place)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
