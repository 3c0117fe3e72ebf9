"""Whether a model fits its share of the GPU, and which share it needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hotseat.stack.compose.model import ComposeService
from hotseat.stack.doctor.model_memory import GIB, RUNTIME_BYTES, Architecture

DEFAULT_SHARE = 0.92
"""vLLM's default of ``--gpu-memory-utilization`` (since 0.33.0; 0.9 before)."""
DEFAULT_SEQUENCES = 256
"""About vLLM's default of ``--max-num-seqs``, which depends on the GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFit:
    """A model's memory needs and its share of a GPU; sizes in bytes."""

    card: int
    share: float
    weights: int
    one_sequence: int
    """KV cache of one request of the full length."""
    sequences: int
    """``--max-num-seqs``."""

    @property
    def room(self) -> int:
        """The size of the share."""
        return int(self.card * self.share)

    @property
    def needed(self) -> int:
        """The least that vLLM starts with: weights, runtime and the KV cache of one full-length request."""
        return self.weights + RUNTIME_BYTES + self.one_sequence

    @property
    def starts(self) -> bool:
        """Whether the share is large enough to start."""
        return self.needed <= self.room

    def share_to_start(self) -> float | None:
        """The smallest share with which it starts, rounded up to 0.01; ``None`` if the GPU is too small."""
        return self._share(self.needed)

    def share_for_all(self) -> float | None:
        """The smallest share for ``sequences`` full-length requests; ``None`` if the GPU is too small."""
        return self._share(self.needed + self.one_sequence * (self.sequences - 1))

    def full_sequences(self) -> int:
        """The number of full-length requests that the share has room for."""
        return max(0, (self.room - self.weights - RUNTIME_BYTES) // self.one_sequence)

    def _share(self, size: int) -> float | None:
        share = math.ceil(size / self.card * 100) / 100
        return share if share <= 0.98 else None

    def summary(self) -> str:
        """The calculation in one line."""
        return (
            f"{self.share:.2f} of {self.card / GIB:.1f} GiB is {self.room / GIB:.1f} GiB; weights "
            f"{self.weights / GIB:.1f} + runtime {RUNTIME_BYTES / GIB:.1f} + KV cache of one full-length "
            f"request {self.one_sequence / GIB:.1f} = {self.needed / GIB:.1f} GiB"
        )


def fit(service: ComposeService, architecture: Architecture, card: int) -> MemoryFit | None:
    """Fit a service's model to a GPU of ``card`` bytes; ``None`` if its flags cannot be read."""
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
