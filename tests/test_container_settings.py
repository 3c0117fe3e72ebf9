"""What is read from a container's own command, and what the operator's word keeps from being read."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hotseat.config import loads
from hotseat.container_settings import with_container_settings
from hotseat.core.spec import ModelSpec, Settings
from hotseat.runtimes.base import Runtime

FLAGS = [
    "Qwen/Q",
    "--gpu-memory-utilization",
    "0.18",
    "--max-num-seqs",
    "4",
    "--served-model-name",
    "phi",
    "phi-mini",
]


class Docker:
    """Knows one container's command."""

    def __init__(self, command: list[str] | None) -> None:
        self.command = command

    async def command_of(self, model: ModelSpec) -> tuple[str, ...] | None:
        return None if self.command is None else tuple(self.command)

    async def grace_of(self, model: ModelSpec) -> float | None:
        return 45.0


def read(terms: str, command: list[str] | None) -> Settings:
    written = loads(f"state_dir: s\nmodels: {{chat: {{container: sitechat{terms}}}}}", "hotseat.yaml", {})
    runtimes = {"docker": cast(Runtime, Docker(command))}
    return asyncio.run(with_container_settings(written, runtimes))


def seen(settings: Settings) -> dict[str, Any]:
    model = settings.models["chat"]
    assert settings.scheduler.models["chat"] is model.scheduling
    return {
        "footprint": model.scheduling.footprint,
        "in_flight": model.scheduling.max_in_flight,
        "names": model.served_names,
        "grace": model.stop_grace_s,
    }


def test_the_container_says_what_the_configuration_leaves_open() -> None:
    assert seen(read("", FLAGS)) == {
        "footprint": {"0": 180_000},
        "in_flight": 4,
        "names": ("phi", "phi-mini"),
        "grace": 45.0,
    }


def test_the_operators_word_comes_first() -> None:
    terms = ", footprint: 0.3, max_in_flight: 9, served_name: mine, stop_grace: 5s"
    assert seen(read(terms, FLAGS)) == {
        "footprint": {"0": 300_000},
        "in_flight": 9,
        "names": ("mine",),
        "grace": 5.0,
    }


def test_a_container_that_nobody_knows_takes_the_whole_budget() -> None:
    assert seen(read("", None))["footprint"] == {"0": 900_000}


AWAY: list[str] | None = None
"""The command of a container while nobody can be asked."""


def read_again(terms: str, before: str = "", container: str = "sitechat") -> dict[str, Any]:
    """What is known of it after the engine went away and the configuration was read again."""
    known = read(before, FLAGS)
    text = f"state_dir: s\nmodels: {{chat: {{container: {container}{terms}}}}}"
    runtimes = {"docker": cast(Runtime, Docker(AWAY))}
    return seen(asyncio.run(with_container_settings(loads(text, "hotseat.yaml", {}), runtimes, known)))


def test_while_the_engine_is_away_what_the_container_said_last_counts() -> None:
    assert read_again("") == seen(read("", FLAGS))


def test_while_the_engine_is_away_the_operators_new_word_comes_first() -> None:
    assert read_again(", footprint: 0.3, stop_grace: 5s") == {
        "footprint": {"0": 300_000},
        "in_flight": 4,
        "names": ("phi", "phi-mini"),
        "grace": 5.0,
    }


def test_while_the_engine_is_away_the_operators_old_word_is_not_the_containers() -> None:
    """What was written before, and is no more, was never read from the container."""
    before = ", footprint: 0.3, max_in_flight: 9, served_name: mine, stop_grace: 5s"
    assert read_again("", before) == seen(read("", AWAY))


def test_while_the_engine_is_away_nothing_is_known_of_another_container() -> None:
    assert read_again("", container="other") == seen(read("", AWAY))


def test_while_the_engine_is_away_a_footprint_for_other_devices_is_not_taken_over() -> None:
    text = "state_dir: s\ngpu: {devices: {'1': 0.9}}\nmodels: {chat: {container: sitechat}}"
    runtimes = {"docker": cast(Runtime, Docker(AWAY))}
    told = asyncio.run(with_container_settings(loads(text, "hotseat.yaml", {}), runtimes, read("", FLAGS)))
    assert seen(told)["footprint"] == {"1": 900_000}
