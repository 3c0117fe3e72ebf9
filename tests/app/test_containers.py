"""What is read from a container's own command, and what the operator's word keeps from being read."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hotseat.config import loads
from hotseat.containers import as_they_are
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
    return asyncio.run(as_they_are(written, runtimes))


def seen(settings: Settings) -> dict[str, Any]:
    model = settings.models["chat"]
    assert settings.box.seats["chat"] is model.seat
    return {
        "footprint": model.seat.footprint,
        "in_flight": model.seat.max_in_flight,
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
