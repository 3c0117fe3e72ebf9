"""What a model's command says of its server, asked of ``engines``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from hotseat.config.parsers import values
from hotseat.engines import flags
from hotseat.engines.pick import engine_named, engine_of


@dataclass(frozen=True, slots=True)
class CommandInfo:
    """What was found; empty or ``None`` where the command does not say."""

    engine: str
    share: int | None
    """GPU memory in parts per million."""
    served_names: tuple[str, ...]
    lora_names: tuple[str, ...]
    max_in_flight: int | None


def told(command: Sequence[str], engine: str | None) -> CommandInfo:
    """``engine`` as configured; ``None``: told from the command, ``vllm`` where there is none (container)."""
    kind = engine_named(engine or "vllm") if engine or not command else engine_of(command)
    # vLLM's flags are unmistakable: a wrapper script that passes them on takes as much memory.
    share = engine_named("vllm").footprint_share(command)
    # Of a wrapper script nobody can say which of its words is the model: only the flag counts.
    own = kind.served_names(command) if engine_of(command).name == kind.name else ()
    names = own or tuple(flags.values(flags.words(command), "--served-model-name"))
    return CommandInfo(
        engine=kind.name,
        share=None if share is None else values.share(Decimal(repr(share))),
        served_names=tuple(dict.fromkeys(names)),
        lora_names=tuple(dict.fromkeys(kind.lora_names(command))),
        max_in_flight=kind.max_num_seqs(command),
    )
