"""Whether a model fits the share of the GPU that it is given, and which share would do."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hotseat.stack.compose.model import ComposeService
from hotseat.stack.doctor.model_memory import GIB, RUNTIME_BYTES, Architecture

DEFAULT_SHARE = 0.92
"""vLLM's ``--gpu-memory-utilization`` unless one is given (0.33.0; 0.9 before)."""
DEFAULT_SEQUENCES = 256
"""About vLLM's ``--max-num-seqs`` unless one is given; it differs from card to card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFit:
    """A model against its share of a card, in bytes."""

    card: int
    share: float
    weights: int
    one_sequence: int
    """The cache of one request of the full length."""
    sequences: int
    """``--max-num-seqs``."""

    @property
    def room(self) -> int:
        """What the share is worth."""
        return int(self.card * self.share)

    @property
    def needed(self) -> int:
        """What it takes to start: vLLM refuses a share that cannot hold one request of the full length."""
        return self.weights + RUNTIME_BYTES + self.one_sequence

    @property
    def starts(self) -> bool:
        """Whether the share is enough to start."""
        return self.needed <= self.room

    def share_to_start(self) -> float | None:
        """The smallest share that would do, in hundredths; ``None``: the card is too small."""
        return self._share(self.needed)

    def share_for_all(self) -> float | None:
        """The share that holds ``sequences`` requests of the full length; ``None``: no such share."""
        return self._share(self.needed + self.one_sequence * (self.sequences - 1))

    def full_sequences(self) -> int:
        """How many requests of the full length the share holds."""
        return max(0, (self.room - self.weights - RUNTIME_BYTES) // self.one_sequence)

    def _share(self, size: int) -> float | None:
        share = math.ceil(size / self.card * 100) / 100
        return share if share <= 0.98 else None

    def story(self) -> str:
        """The sum in one line."""
        return (
            f"{self.share:.2f} of {self.card / GIB:.1f} GiB is {self.room / GIB:.1f} GiB; weights "
            f"{self.weights / GIB:.1f} + runtime {RUNTIME_BYTES / GIB:.1f} + cache of one full request "
            f"{self.one_sequence / GIB:.1f} = {self.needed / GIB:.1f} GiB"
        )


def fit(service: ComposeService, architecture: Architecture, card: int) -> MemoryFit | None:
    """A service's model against a card of ``card`` bytes; ``None`` where its flags cannot be read."""
    try:
        share = float(service.option("--gpu-memory-utilization") or DEFAULT_SHARE)
        length = int(service.option("--max-model-len") or architecture.longest)
        sequences = int(service.option("--max-num-seqs") or DEFAULT_SEQUENCES)
    except ValueError:
        return None
    weights = architecture.weight_bytes(service.option("--quantization"), service.option("--dtype"))
    per_token = architecture.cache_bytes_per_token(service.option("--kv-cache-dtype"))
    return MemoryFit(
        card=card,
        share=share,
        weights=weights,
        one_sequence=per_token * length,
        sequences=max(1, sequences),
    )
