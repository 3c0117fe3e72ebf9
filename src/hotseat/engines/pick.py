"""Which kind of server is it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hotseat.engines.base import Engine
from hotseat.engines.openai import OpenAI
from hotseat.engines.vllm import Vllm, starts_vllm

ENGINES: Mapping[str, Engine] = {"vllm": Vllm(), "openai": OpenAI()}
"""By the names that a configuration may use."""


def engine_named(name: str) -> Engine:
    """Raises ``KeyError`` for a name that is not in ``ENGINES``."""
    return ENGINES[name]


def engine_of(command: Sequence[str], image: str = "") -> Engine:
    """Guessed from a command, or from the image that is given it."""
    return ENGINES["vllm" if starts_vllm(command) or "vllm" in image else "openai"]
