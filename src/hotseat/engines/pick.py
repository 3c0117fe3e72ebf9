"""Chooses the engine of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hotseat.engines.base import Engine
from hotseat.engines.openai import OpenAI
from hotseat.engines.vllm import Vllm, starts_vllm

ENGINES: Mapping[str, Engine] = {"vllm": Vllm(), "openai": OpenAI()}
"""Engines by their names in the configuration."""


def engine_named(name: str) -> Engine:
    """Return the engine of this name. Raises ``KeyError`` for a name that is not in ``ENGINES``."""
    return ENGINES[name]


def engine_of(command: Sequence[str], image: str = "") -> Engine:
    """Return the engine that a command runs, judged by its words and by the name of the image."""
    return ENGINES["vllm" if starts_vllm(command) or "vllm" in image else "openai"]
