"""Capabilities and context length of a server's model, as its command tells them.

The flags of vLLM, SGLang and llama.cpp are known. Where no flag says what a model is for, the usual words in
its name do (``bge``, ``whisper``). Unknown is ``None`` or empty, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from hotseat.engines import flags

CAPABILITIES = (
    "chat",
    "completions",
    "tools",
    "vision",
    "reasoning",
    "embeddings",
    "rerank",
    "classification",
    "transcription",
    "speech",
)
"""All words that ``/v1/models`` uses for what a model can do."""

_CONTEXT_FLAGS = ("--max-model-len", "--ctx-size", "--context-length", "--ctx", "-c")
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "K": 1024, "M": 1024**2}
"""As vLLM reads them: small letters are decimal, capitals binary."""
_MODEL_FLAGS = (
    *("--model", "-m", "--model-path", "--served-model-name", "--alias"),
    *("-a", "-hf", "--hf-repo", "--hf-file"),
)
_TASKS = {
    "embed": "embeddings",
    "embedding": "embeddings",
    "score": "rerank",
    "rerank": "rerank",
    "classify": "classification",
    "reward": "classification",
    "transcription": "transcription",
    "generate": "chat",
}
"""Values of vLLM's ``--task`` and ``--convert``."""
_NAMES = (
    (r"rerank", "rerank"),
    (r"(?<![a-z])(?:embed\w*|bge|e5|gte|minilm|mxbai)(?![a-z])", "embeddings"),
    (r"(?<![a-z])(?:whisper|parakeet)(?![a-z])", "transcription"),
    (r"(?<![a-z])(?:tts|kokoro|orpheus|xtts)(?![a-z])", "speech"),
)


def context_length(command: Sequence[str]) -> int | None:
    """Return the tokens of a prompt and its answer together; ``None``: the flags do not say."""
    text = flags.value(flags.words(command), *_CONTEXT_FLAGS)
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)([kKmM]?)", text or "")
    tokens = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    return tokens or None


def capabilities(command: Sequence[str], names: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what the model can do, in words of ``CAPABILITIES``; empty: unknown.

    ``names``: further names of the model, which may tell what it is for.
    """
    words = flags.words(command)
    given = {flags.name_of(word) for word in words}
    task = _TASKS.get(flags.value(words, "--task") or flags.value(words, "--convert") or "")
    if task is None and given & {"--embedding", "--embeddings", "--is-embedding"}:
        task = "embeddings"
    if task is None and given & {"--reranking", "--rerank"}:
        task = "rerank"
    if task is None:
        task = _by_name([*_models(words), *names])
    if task is None and flags.value(words, "--runner") == "pooling":
        task = "embeddings"
    if task is not None and task != "chat":
        return (task,)
    more = [
        capability
        for capability, known in (
            ("tools", {"--enable-auto-tool-choice", "--tool-call-parser", "--jinja"}),
            ("vision", {"--mmproj", "--limit-mm-per-prompt"}),
            ("reasoning", {"--reasoning-parser"}),
        )
        if given & known
    ]
    generates = task == "chat" or more or "serve" in words or "--max-model-len" in given
    return ("chat", "completions", *more) if generates else ()


def _models(words: Sequence[str]) -> list[str]:
    """Return the model's names and paths in a command."""
    named = [value for flag in _MODEL_FLAGS for value in flags.values(words, flag)]
    return [*named, *(word for last, word in pairwise(words) if last == "serve")]


def _by_name(words: Sequence[str]) -> str | None:
    for pattern, capability in _NAMES:
        if any(re.search(pattern, word.lower()) for word in words):
            return capability
    return None
