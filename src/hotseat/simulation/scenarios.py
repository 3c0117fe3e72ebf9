"""Synthetic traffic: clients in a loop, Poisson, bursts, a day of an office, a thousand models."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from hotseat.core.spec import PPM, SchedulerSpec, SchedulingSpec
from hotseat.simulation.traffic import ClosedLoopClient, Scenario, SimulatedRequest, SwapCost

HOUR_S = 3600.0
_OFFICE = (0, 0, 0, 0, 0, 0, 0, 2, 6, 10, 10, 8, 4, 8, 10, 9, 7, 4, 2, 1, 1, 0, 0, 0)
"""Average number of sessions that begin in each hour of the day."""


def _machine(shares: Mapping[str, float], budget: float = 0.9) -> SchedulerSpec:
    models = {
        name: SchedulingSpec(name=name, footprint={"0": round(share * PPM)}) for name, share in shares.items()
    }
    return SchedulerSpec(budget={"0": round(budget * PPM)}, models=models)


def _exclusive(*names: str) -> SchedulerSpec:
    return _machine(dict.fromkeys(names, 0.9))


def two_loops(seed: int = 0) -> Scenario:
    """Two clients in a closed loop, on two models that exclude each other."""
    return _loops("two-loops", "two clients in a loop, each on a model of its own", ("left", "right"))


def four_and_one(seed: int = 0) -> Scenario:
    """Four clients on one model, one on another."""
    return _loops(
        "four-and-one", "four clients in a loop on one model, one on the other", ("left",) * 4 + ("right",)
    )


def _loops(name: str, about: str, models: tuple[str, ...]) -> Scenario:
    agents = tuple(ClosedLoopClient(model, 0.2, key=f"client {i}") for i, model in enumerate(models))
    costs = {model: SwapCost(start_s=2.0, stop_s=0.05) for model in models}
    return Scenario(name, about, _exclusive(*costs), costs, 60.0, agents=agents)


def autocomplete(seed: int = 0) -> Scenario:
    """A person who chats, beside an editor whose completions are gone after eight seconds."""
    clients = (
        ClosedLoopClient("chat", 4.0, think_s=12.0, key="person"),
        ClosedLoopClient("coder", 0.3, think_s=4.0, key="editor", begins_s=30.0, patience_s=8.0),
    )
    costs = {"chat": SwapCost(28.0, 1.0), "coder": SwapCost(28.0, 1.0)}
    about = "a person who chats, and completions for another model that are gone after 8 s, for 20 minutes"
    return Scenario("autocomplete", about, _exclusive(*costs), costs, 1200.0, agents=clients)


def poisson(seed: int = 0) -> Scenario:
    """Three models that exclude each other, asked independently."""
    rng = random.Random(seed)
    asks = []
    for model, every_s in (("chat", 60.0), ("coder", 150.0), ("tools", 600.0)):
        at_s = rng.expovariate(1 / every_s)
        while at_s < 8 * HOUR_S:
            asks.append(SimulatedRequest(at_s, model, rng.uniform(2, 15)))
            at_s += rng.expovariate(1 / every_s)
    costs = {"chat": SwapCost(20.0, 2.0), "coder": SwapCost(30.0, 2.0), "tools": SwapCost(10.0, 2.0)}
    about = "three models that exclude each other, asked at random, for eight hours"
    return _open("poisson", about, _exclusive(*costs), costs, asks, 8 * HOUR_S)


def bursts(seed: int = 0) -> Scenario:
    """Two models, each asked in bursts that often overlap."""
    rng = random.Random(seed)
    asks = []
    for model, every_s in (("chat", 300.0), ("batch", 420.0)):
        at_s = rng.uniform(0, every_s)
        while at_s < 8 * HOUR_S:
            asks += [
                SimulatedRequest(at_s + rng.uniform(0, 20), model, rng.uniform(1, 8))
                for _ in range(rng.randint(5, 25))
            ]
            at_s += rng.uniform(0.7, 1.3) * every_s
    costs = {"chat": SwapCost(15.0, 1.0), "batch": SwapCost(25.0, 1.0)}
    about = "two models that exclude each other, asked in bursts, for eight hours"
    return _open("bursts", about, _exclusive(*costs), costs, asks, 8 * HOUR_S)


def office(seed: int = 0) -> Scenario:
    """A day of an office: people talk to a model for a while, and a job runs at night."""
    rng = random.Random(seed)
    asks = []
    kinds = (("chat", 5.0), ("coder", 3.0), ("large", 0.4), ("site", 6.0))
    for hour, sessions in enumerate(_OFFICE):
        for model, weight in kinds:
            for _ in range(_poisson(rng, sessions * weight / 10)):
                at_s = (hour + rng.random()) * HOUR_S
                for _ in range(rng.randint(3, 15)):
                    asks.append(SimulatedRequest(at_s, model, rng.uniform(3, 25)))
                    at_s += rng.uniform(20, 120)
    asks += [SimulatedRequest(2 * HOUR_S + 40 * i, "large", 30.0) for i in range(60)]
    spec = _machine({"site": 0.18, "chat": 0.70, "coder": 0.70, "large": 0.90})
    costs = {
        "site": SwapCost(25.0, 2.0),
        "chat": SwapCost(40.0, 3.0),
        "coder": SwapCost(60.0, 3.0),
        "large": SwapCost(90.0, 3.0),
    }
    about = "a day of an office: a small model beside one of two, and a large one that needs the whole GPU"
    return _open("office", about, spec, costs, asks, 24 * HOUR_S)


def switching(seed: int = 0) -> Scenario:
    """One person who goes back and forth between two models all day."""
    rng = random.Random(seed)
    asks, at_s, model = [], 0.0, "chat"
    while at_s < 10 * HOUR_S:
        for _ in range(rng.randint(1, 6)):
            asks.append(SimulatedRequest(at_s, model, rng.uniform(5, 30)))
            at_s += 30 + rng.uniform(10, 90)
        model = "coder" if model == "chat" else "chat"
    costs = {"chat": SwapCost(40.0, 3.0), "coder": SwapCost(60.0, 3.0)}
    about = "one person who goes back and forth between two models that exclude each other"
    return _open("switching", about, _exclusive(*costs), costs, asks, 10 * HOUR_S)


def thousand(seed: int = 0) -> Scenario:
    """A thousand small models, a few of them popular, three at a time."""
    rng = random.Random(seed)
    names = [f"m{i:03}" for i in range(1000)]
    weights = [1 / (i + 1) for i in range(1000)]
    asks, at_s = [], 0.0
    while at_s < 24 * HOUR_S:
        asks.append(SimulatedRequest(at_s, rng.choices(names, weights)[0], rng.uniform(1, 10)))
        at_s += rng.expovariate(1 / 45)
    costs = {name: SwapCost(5.0, 0.5) for name in names}
    about = "a thousand models, a few of them popular, three at a time, for a day"
    return _open("thousand", about, _machine(dict.fromkeys(names, 0.3)), costs, asks, 24 * HOUR_S)


def _open(
    name: str,
    about: str,
    spec: SchedulerSpec,
    costs: Mapping[str, SwapCost],
    asks: list[SimulatedRequest],
    duration_s: float,
) -> Scenario:
    kept = sorted((ask for ask in asks if ask.at_s < duration_s), key=lambda ask: ask.at_s)
    return Scenario(name, about, spec, costs, duration_s, asks=tuple(kept))


def _poisson(rng: random.Random, mean: float) -> int:
    count, left = 0, rng.expovariate(1.0)
    while left < mean:
        count, left = count + 1, left + rng.expovariate(1.0)
    return count


SCENARIOS: Mapping[str, Callable[[int], Scenario]] = {
    "two-loops": two_loops,
    "four-and-one": four_and_one,
    "autocomplete": autocomplete,
    "poisson": poisson,
    "bursts": bursts,
    "switching": switching,
    "office": office,
    "thousand": thousand,
}
"""Every scenario, by name; each takes a seed."""
