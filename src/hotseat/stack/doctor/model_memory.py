"""Estimates a model's GPU memory, weights and KV cache, from its architecture.

The architecture is read from a Hugging Face ``config.json``. A few are built in, so that checks work before
anything has been downloaded. KV cache per token in bytes: 2 (keys and values) x layers x KV heads x head
size x bytes of the data type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIB = 1024**3
RUNTIME_BYTES = int(1.5 * GIB)
"""For the CUDA context, activations of the profiling run and CUDA graphs. An estimate, since these depend
on the GPU and on the version."""
_BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2, "auto": 2}
_BNB4_BYTES = 0.5 + 4 / 64
"""Bytes for each weight: four bits, and one 32-bit scale for each block of 64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The dimensions of a decoder that determine its memory."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool
    """Whether the output layer shares the embedding's weights."""
    longest: int
    """Context length in tokens, which is the default of ``--max-model-len``."""
    attention_bias: bool = False
    experts: int = 1
    dtype: str = "bfloat16"

    def embedding_parameters(self) -> int:
        """Number of weights of the embedding and the output layer."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    def linear_parameters(self) -> int:
        """Number of all other weights: attention and feed-forward layers, norms."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        attention = self.hidden * (2 * queries + 2 * keys)
        attention += queries + 2 * keys if self.attention_bias else 0
        router = self.hidden * self.experts if self.experts > 1 else 0
        feed_forward = 3 * self.hidden * self.intermediate * self.experts + router
        return self.layers * (attention + feed_forward + 2 * self.hidden) + self.hidden

    def parameters(self) -> int:
        """Number of all weights."""
        return self.embedding_parameters() + self.linear_parameters()

    def weight_bytes(self, quantization: str | None, dtype: str | None = None) -> int:
        """Bytes of the weights on the GPU; bitsandbytes does not quantize embedding and output layer."""
        width = _BYTES.get(dtype or "auto", 2) if dtype not in (None, "auto") else _BYTES.get(self.dtype, 2)
        if quantization == "bitsandbytes":
            return int(self.embedding_parameters() * width + self.linear_parameters() * _BNB4_BYTES)
        if quantization == "fp8":
            return self.embedding_parameters() * width + self.linear_parameters()
        return self.parameters() * width

    def cache_bytes_per_token(self, cache_dtype: str | None = None) -> int:
        """Bytes of KV cache for one token."""
        width = 1 if cache_dtype and cache_dtype.startswith("fp8") else _BYTES.get(self.dtype, 2)
        return 2 * self.layers * self.kv_heads * self.head_size * width


KNOWN: Mapping[str, Architecture] = {
    "microsoft/Phi-3.5-mini-instruct": Architecture(
        layers=32,
        hidden=3072,
        intermediate=8192,
        heads=32,
        kv_heads=32,
        head_size=96,
        vocabulary=32064,
        tied=False,
        longest=131072,
    ),
    "Qwen/Qwen2.5-Coder-3B-Instruct": Architecture(
        layers=36,
        hidden=2048,
        intermediate=11008,
        heads=16,
        kv_heads=2,
        head_size=128,
        vocabulary=151936,
        tied=True,
        longest=32768,
        attention_bias=True,
    ),
    "Qwen/Qwen2.5-7B-Instruct": Architecture(
        layers=28,
        hidden=3584,
        intermediate=18944,
        heads=28,
        kv_heads=4,
        head_size=128,
        vocabulary=152064,
        tied=False,
        longest=32768,
        attention_bias=True,
    ),
}
"""The models of the bundled stack, from their ``config.json`` at Hugging Face."""


def from_config(config: Mapping[str, Any]) -> Architecture | None:
    """Read the architecture from a ``config.json``; ``None`` if a needed value is missing."""
    text = config.get("text_config")
    data = {**config, **text} if isinstance(text, dict) else config
    try:
        heads = int(data["num_attention_heads"])
        hidden = int(data["hidden_size"])
        experts = int(data.get("num_local_experts") or data.get("num_experts") or 1)
        wide = data.get("moe_intermediate_size") if experts > 1 else None
        return Architecture(
            layers=int(data["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(wide or data["intermediate_size"]),
            heads=heads,
            kv_heads=int(data.get("num_key_value_heads") or heads),
            head_size=int(data.get("head_dim") or hidden // heads),
            vocabulary=int(data["vocab_size"]),
            longest=int(data["max_position_embeddings"]),
            tied=bool(data.get("tie_word_embeddings", True)),
            attention_bias=bool(
                data.get("attention_bias", str(data.get("model_type", "")).startswith("qwen2"))
            ),
            experts=experts,
            dtype=str(data.get("torch_dtype") or data.get("dtype") or "bfloat16"),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def model_folder(cache: Path, model: str) -> Path | None:
    """The folder of a model's files in a cache: in the Hub's layout, or created with ``--local-dir``."""
    name = "models--" + model.replace("/", "--")
    for home in (cache / "huggingface" / "hub", cache / "hub", cache):
        folder = home / name
        snapshots = sorted((folder / "snapshots").glob("*/config.json"), key=lambda one: one.stat().st_mtime)
        if snapshots:
            return snapshots[-1].parent
        if (folder / "config.json").is_file():
            return folder
    return None


def architecture(model: str, cache: Path | None) -> Architecture | None:
    """A model's architecture: from its files if they exist, else from ``KNOWN``."""
    folder = Path(model) if model.startswith("/") else model_folder(cache, model) if cache else None
    if folder:
        try:
            read = from_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            read = None
        if read:
            return read
    return KNOWN.get(model)
