"""Facts read from a model's command: engine, GPU share, names, concurrency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from hotseat.config.parsers.gpu import share as parse_share
from hotseat.engines import abilities, flags
from hotseat.engines.pick import engine_named, engine_of


@dataclass(frozen=True, slots=True)
class CommandInfo:
    """Facts read from a command; empty or ``None`` where the command does not say."""

    engine: str
    share: int | None
    """GPU memory in parts per million."""
    served_names: tuple[str, ...]
    lora_names: tuple[str, ...]
    max_in_flight: int | None
    context: int | None
    """Context length in tokens."""
    capabilities: tuple[str, ...]


def read_command(command: Sequence[str], engine: str | None) -> CommandInfo:
    """Read a command.

    ``engine`` is the configured one; ``None``: recognised from the command, and ``vllm`` where there is
    no command (a container's).
    """
    kind = engine_named(engine or "vllm") if engine or not command else engine_of(command)
    # Only vLLM has this flag, so a wrapper script that passes it on needs as much memory.
    share = engine_named("vllm").footprint_share(command)
    # In a wrapper script's command any word could be the model, so only the flag counts.
    own = kind.served_names(command) if engine_of(command).name == kind.name else ()
    names = own or tuple(flags.values(flags.words(command), "--served-model-name"))
    return CommandInfo(
        engine=kind.name,
        share=None if share is None else parse_share(Decimal(repr(share))),
        served_names=tuple(dict.fromkeys(names)),
        lora_names=tuple(dict.fromkeys(kind.lora_names(command))),
        max_in_flight=kind.max_num_seqs(command),
        context=abilities.context_length(command),
        capabilities=abilities.capabilities(command, names),
    )
