"""Closed-loop clients on two models that cannot run together: number of responses and waiting times.

    make turns    (or: PYTHONPATH=tests python -m benchmarks.turns [--seconds 60])

The real program, with its default configuration and the fake engine (start 2 s, service 0.2 s), is
compared with the simulator on the same traffic: once with these two durations, once with the measured
durations of starts and responses (processes must be launched and connections made).

A third figure: how much longer requests of other models take while one model needs 10 s to stop. Periods of
both kinds alternate, so that disturbances of the machine affect both.
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
from hotseat.core.scheduler import Scheduler
from hotseat.core.spec import PPM, SchedulerSpec, SchedulingSpec
from hotseat.simulation.run import all_waits, simulate
from hotseat.simulation.traffic import ClosedLoopClient, Scenario, SwapCost

START_S, SERVICE_S = 2.0, 0.2
STOP_S = 10.0
ROUNDS = 3
MIXES: Mapping[str, Mapping[str, int]] = {"1 + 1": {"chat": 1, "coder": 1}, "4 + 1": {"chat": 4, "coder": 1}}
WANTED = {"1 + 1": 200, "4 + 1": 600}
WAIT_S = 15.0
TOLERANCE = 0.1
"""Allowed relative deviation of the simulator."""
LATER_S = 0.005
"""Allowed delay of a request while another model is being stopped, in s."""


@contextmanager
def running(made: Hotseat) -> Iterator[Hotseat]:
    yield from serving(made)


def simulated(mix: Mapping[str, int], seconds: float, start_s: float, service_s: float) -> tuple[int, float]:
    """Simulate a mix; returns the number of responses and the longest wait in s."""
    share = {"0": round(0.9 * PPM)}
    box = SchedulerSpec(
        budget=share, models={name: SchedulingSpec(name=name, footprint=share) for name in mix}
    )
    costs = {name: SwapCost(start_s=start_s, stop_s=0.05) for name in mix}
    agents = tuple(
        ClosedLoopClient(name, service_s, key=f"{name} {i}") for name in mix for i in range(mix[name])
    )
    outcome = simulate(Scenario("loops", "", box, costs, seconds, agents=agents), Scheduler(box))
    return outcome.answered, max(all_waits(outcome))


async def client(port: int, model: str, until: float, waits: dict[str, list[float]]) -> None:
    """Send requests in a closed loop, each on a connection of its own, as a script does."""
    body = json.dumps({"model": model}).encode()
    while (began := time.monotonic()) < until:
        async with await Wire.open(port) as wire:
            await wire.ask("/v1/chat/completions", body)
            answer = await read_message(wire.reader)
        if answer.status != 200:
            raise RuntimeError(f"{model}: {answer.status} {answer.body!r}")
        waits[model].append(time.monotonic() - began - SERVICE_S)


async def loop(port: int, mix: Mapping[str, int], seconds: float) -> dict[str, list[float]]:
    """Run all clients of a mix; returns the waits in s, by model."""
    waits: dict[str, list[float]] = {model: [] for model in mix}
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for model, count in mix.items():
            for _ in range(count):
                group.create_task(client(port, model, until, waits))
    return waits


def turns(folder: Path, name: str, seconds: float) -> bool:
    """Measure and print one mix; returns whether it met its goals (set for 60 s)."""
    terms = {
        "options": ["--start-s", str(START_S), "--service-s", str(SERVICE_S), "--tokens", "1"],
        "footprint": 0.9,
    }
    made = Hotseat(folder, {"chat": terms, "coder": terms})
    with running(made) as hotseat:
        waits = asyncio.run(loop(hotseat.port, MIXES[name], seconds))
        stats = {model: hotseat.model(model) for model in waits}
    answers = sum(map(len, waits.values()))
    longest = max(map(max, waits.values()))
    for model, each in waits.items():
        print(
            f"{name}  {model:6} {MIXES[name][model]} client(s): {len(each):4} responses, "
            f"{stats[model]['starts']:2} starts, wait p50 {statistics.median(each):6.3f} s, "
            f"longest {max(each):6.3f} s"
        )
    good = answers >= WANTED[name] * seconds / 60 and longest <= WAIT_S
    print(
        f"{name}  {answers} responses (goal {WANTED[name] * seconds / 60:.0f}), longest wait {longest:.1f} s "
        f"(goal: at most {WAIT_S:g}): {'met' if good else 'MISSED'}"
    )
    start_s = statistics.mean(took for model in stats.values() for took in model["spin_up_s"])
    served_s = SERVICE_S + statistics.median(wait for each in waits.values() for wait in each if wait < 1)
    for about, costs in (("configured", (START_S, SERVICE_S)), ("measured", (start_s, served_s))):
        expected, wait = simulated(MIXES[name], seconds, *costs)
        close = abs(expected - answers) <= TOLERANCE * expected
        good = good and close
        print(
            f"{name}  simulated with {about} durations (start {costs[0]:.2f} s, response {costs[1]:.3f} s): "
            f"{expected} responses, longest wait {wait:.1f} s; measured {answers / expected - 1:+.1%}"
            f"{'' if close else ': DEVIATES'}"
        )
    return good


def beside_a_slow_stop(folder: Path) -> bool:
    """Compare request times before and during a 10 s stop of another model; returns whether it is good."""
    made = Hotseat(
        folder,
        {"good": ["--tokens", "1"], "deaf": {"options": ["--ignores-stop"], "stop_grace": f"{STOP_S}s"}},
    )
    before: list[float] = []
    during: list[float] = []
    with running(made) as hotseat:
        hotseat.ask("good")
        for _ in range(ROUNDS):
            hotseat.ask("deaf")
            before += _times(hotseat, STOP_S / 2)
            stop = threading.Thread(
                target=hotseat.send, args=["POST", "/admin/stop", {"route": "deaf", "wait": True}]
            )
            stop.start()
            hotseat.until("deaf", lambda stats: stats["state"] == "stopping")
            during += _times(hotseat, STOP_S / 2)
            still = hotseat.model("deaf")["state"]
            stop.join()
            if still != "stopping":
                raise RuntimeError(f"the model was {still} before the measurement ended")
    later = {}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        quiet, busy = (sorted(each)[int(len(each) * share)] for each in (before, during))
        later[name] = busy - quiet
        print(f"slow stop  {name}: {quiet * 1e3:.2f} ms before, {busy * 1e3:.2f} ms during a stop of 10 s")
    good = all(each <= LATER_S for each in later.values())
    print(
        f"slow stop  {len(before)} and {len(during)} requests; {later['p50'] * 1e3:+.2f} ms at p50, "
        f"{later['p99'] * 1e3:+.2f} ms at p99 (at most {LATER_S * 1e3:g}): "
        f"{'met' if good else 'MISSED'}"
    )
    return good


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
    """Measure and print; the exit status is 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turns", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--only", choices=["loops", "stop"], help="run only the clients in a loop, or only the slow stop"
    )
    args = parser.parse_args()
    good = []
    with tempfile.TemporaryDirectory(prefix="hotseat-turns-") as folder:
        for number, name in enumerate(MIXES if args.only != "stop" else ()):
            place = Path(folder, str(number))
            place.mkdir()
            good.append(turns(place, name, args.seconds))
        if args.only != "loops":
            place = Path(folder, "stop")
            place.mkdir()
            good.append(beside_a_slow_stop(place))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
