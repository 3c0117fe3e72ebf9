"""Kinds of model servers in Compose files, told by image or command, and where each keeps its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_HUB = ("HF_HUB_CACHE", "HF_HOME")


@dataclass(frozen=True, slots=True)
class ServerKind:
    """A kind of model server, as far as the checks of a stack must know it."""

    name: str
    marks: tuple[str, ...]
    """Words in an image's name, or programs in a command."""
    weights: str
    """Where its container keeps downloaded weights."""
    weights_variables: tuple[str, ...] = _HUB
    """Variables that move that folder, the strongest first."""
    pytorch: bool = True
    """Whether it needs more shared memory than Docker's default."""
    download_flags: tuple[str, ...] = ()
    """It downloads weights only with one of these; empty: always."""


_HUGGING_FACE = "/root/.cache/huggingface"
KINDS = (
    ServerKind("vLLM", ("vllm",), _HUGGING_FACE),
    ServerKind("SGLang", ("sglang",), _HUGGING_FACE),
    ServerKind(
        "TGI",
        ("text-generation-inference", "text-generation-launcher"),
        "/data",
        ("HUGGINGFACE_HUB_CACHE", *_HUB),
    ),
    ServerKind(
        "TEI",
        ("text-embeddings-inference", "text-embeddings-router"),
        "/data",
        ("HUGGINGFACE_HUB_CACHE", *_HUB),
        pytorch=False,
    ),
    ServerKind(
        "llama.cpp",
        ("llama.cpp", "llama-server", "llama-cpp"),
        "/root/.cache/llama.cpp",
        ("LLAMA_CACHE",),
        pytorch=False,
        download_flags=("-hf", "-hfr", "--hf-repo", "-mu", "--model-url"),
    ),
    ServerKind("Ollama", ("ollama",), "/root/.ollama", ("OLLAMA_MODELS",), pytorch=False),
)


def server_kind(image: str, command: Sequence[str]) -> ServerKind | None:
    """Return the kind of a service's server; ``None``: not known."""
    name = image.partition("@")[0].lower()
    programs = {word.rpartition("/")[2].lower() for word in command[:3]}
    for kind in KINDS:
        if any(mark in name or mark in programs for mark in kind.marks):
            return kind
    return None


def weights_folder(kind: ServerKind, environment: Mapping[str, str]) -> str:
    """Return the folder in the container that holds the weights."""
    return next((environment[one] for one in kind.weights_variables if environment.get(one)), kind.weights)
