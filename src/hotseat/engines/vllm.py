"""vLLM: its flags and log lines (as of 0.33.0; older wordings are kept)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence

from hotseat.engines import flags
from hotseat.engines.base import (
    DOWNLOADING,
    PYTHON_FAILURES,
    SYSTEM_FAILURES,
    Hint,
    download_progress,
    failure,
    first_match,
)

PHASES = tuple(
    (re.compile(pattern, re.IGNORECASE), phase)
    for pattern, phase in (
        # A line that reports the end of a step begins the next phase.
        (r"Application startup complete|Uvicorn running on", "ready"),
        (r"Starting vLLM (?:API )?server|Started server process", "starting server"),
        (r"Waiting for application startup|init engine .* took", "starting server"),
        (r"Graph capturing finished", "warming up"),
        (r"Capturing (?:the model for )?CUDA graph", "capturing graphs"),
        (r"torch\.compile took|torch\.compile takes", "capturing graphs"),
        (r"Loading weights took|Model loading took|Finished loading model", "compiling"),
        (r"Starting to load model|Loading (?:safetensors|pt) checkpoint shards", "loading weights"),
        (r"Loading model weights|Loading weights", "loading weights"),
        (r"Initializing an? (?:V\d )?LLM engine", "starting engine"),
    )
)

_GATED = ("the model is gated", "accept its terms on Hugging Face and set HF_TOKEN")
FAILURES = (
    *PYTHON_FAILURES,
    failure(
        r"GatedRepoError|access (?:a )?gated repo|Access to model \S+ is restricted",
        *_GATED,
        permanent=True,
    ),
    failure(
        r"RepositoryNotFoundError|Repository Not Found|is not a valid model identifier"
        r"|Invalid repository ID or local directory|HFValidationError: Repo id must be",
        "no such model",
        "check the model's name or path, and HF_TOKEN for a private one",
        permanent=True,
    ),
    # Hugging Face also answers 401 for a model that does not exist, so this row comes after that one.
    failure(r"401 Client Error", *_GATED, permanent=True),
    failure(
        r"Cannot find any model weights with|no file named .*(?:safetensors|pytorch_model)",
        "the model's weights are missing",
        "download it again: hotseat seed",
        permanent=True,
    ),
    failure(
        r"SafetensorError",
        "a file of the model's weights is damaged",
        "remove it and download it again: hotseat seed",
        permanent=True,
    ),
    failure(
        r"Unknown quantization method|quantization method .* not (?:found|supported)",
        "unknown quantization method",
        "this vLLM does not have it (bitsandbytes needs a plugin from 0.28 on)",
        permanent=True,
    ),
    failure(
        r"Model architectures .* (?:are not supported|failed to be inspected)"
        r"|The checkpoint you are trying to load has model type .* does not recognize this architecture",
        "this vLLM does not know the model's architecture",
        "use a newer image",
        permanent=True,
    ),
    failure(
        r"pass the argument `trust_remote_code=True`|contains custom code which must be executed",
        "the model brings code of its own",
        "add --trust-remote-code if you trust it",
        permanent=True,
    ),
    failure(
        r"User-specified max_model_len .* is greater than the derived max_model_len",
        "--max-model-len is larger than the model allows",
        "lower --max-model-len",
        permanent=True,
    ),
    failure(
        r"Sleep mode is not supported on current platform",
        "sleep mode is not supported on this machine",
        "remove --enable-sleep-mode",
        permanent=True,
    ),
    failure(
        r"Free memory on device .* is less than (?:desired GPU memory utilization|the engine's budget)",
        "not enough free GPU memory",
        "lower --gpu-memory-utilization, or free what other programs hold",
        oom=True,
    ),
    failure(
        r"Available memory on node .* is less than (?:desired CPU memory|requested memory for kv)",
        "not enough free memory",
        "lower --gpu-memory-utilization (on a CPU too) or VLLM_CPU_KVCACHE_SPACE",
        oom=True,
    ),
    failure(
        r"No available memory for the cache blocks",
        "no memory left for the KV cache",
        "raise --gpu-memory-utilization or lower --max-model-len",
        oom=True,
    ),
    failure(
        r"To serve at least one request with the model'?s max seq len",
        "the KV cache does not hold one request of full length",
        "lower --max-model-len or raise --gpu-memory-utilization",
        oom=True,
    ),
    failure(
        r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|not enough GPU memory",
        "out of GPU memory",
        "lower --gpu-memory-utilization, --max-model-len or --max-num-seqs",
        oom=True,
    ),
    failure(
        r"No CUDA GPUs are available|Failed to infer device type|libcuda\.so\.1: cannot open",
        "no GPU was found",
        "check the driver and the container toolkit",
    ),
    failure(
        r"couldn't connect to '|error happened while trying to locate the file on the Hub",
        "the model is not in the cache and Hugging Face cannot be reached",
        "check the network, or download it first: hotseat seed",
    ),
    failure(
        r"LocalEntryNotFoundError|offline mode is enabled",
        "the model is not in the cache",
        "download it first: hotseat seed",
    ),
    *SYSTEM_FAILURES,
    failure(
        r"Timed out waiting for engine core processes to start",
        "its engine did not start in time",
        "raise VLLM_ENGINE_READY_TIMEOUT_S for a model that loads for longer",
    ),
    failure(r"EngineDeadError", "its engine died"),
)


class Vllm:
    """vLLM's OpenAI-compatible server, as a command or as the arguments of its image (``MODEL --flags``)."""

    name = "vllm"

    def footprint_share(self, command: Sequence[str]) -> float | None:
        """Return ``--gpu-memory-utilization``; ``None`` where ``--kv-cache-memory-bytes`` overrides it."""
        arguments = _arguments(command)
        if flags.value(arguments, "--kv-cache-memory-bytes") is not None:
            return None
        share = flags.number(arguments, "--gpu-memory-utilization")
        return share if share is not None and 0 < share <= 1 else None

    def served_names(self, command: Sequence[str]) -> tuple[str, ...]:
        """Return ``--served-model-name``, else the model argument."""
        arguments = _arguments(command)
        if names := flags.values(arguments, "--served-model-name"):
            return tuple(names)
        if model := flags.value(arguments, "--model"):
            return (model,)
        if arguments and flags.name_of(arguments[0]) is None:
            return (arguments[0],)
        return ()

    def lora_names(self, command: Sequence[str]) -> tuple[str, ...]:
        """Return the names in ``--lora-modules`` (``name=path`` or JSON)."""
        found = (_lora_name(word) for word in flags.values(_arguments(command), "--lora-modules"))
        return tuple(name for name in found if name)

    def max_num_seqs(self, command: Sequence[str]) -> int | None:
        """Return ``--max-num-seqs``."""
        count = flags.number(_arguments(command), "--max-num-seqs")
        return int(count) if count is not None and count >= 1 else None

    def api_keys(self, command: Sequence[str], env: Mapping[str, str]) -> tuple[str, ...]:
        """Return the values of ``--api-key``, else ``VLLM_API_KEY``, as vLLM does."""
        given = flags.values(_arguments(command), "--api-key") or [env.get("VLLM_API_KEY", "")]
        return tuple(key for key in given if key)

    def phase(self, line: str) -> str | None:
        """Return the phase that begins with a line (``PHASES``)."""
        if download_progress(line) is not None:
            return DOWNLOADING
        return next((phase for pattern, phase in PHASES if pattern.search(line)), None)

    def hint(self, lines: Iterable[str]) -> Hint | None:
        """Return the cause that the lines tell (``FAILURES``)."""
        return first_match(FAILURES, lines)


def starts_vllm(command: Sequence[str]) -> bool:
    """Whether this command runs vLLM."""
    listed = flags.words(command)
    return len(_arguments(listed)) < len(listed) and listed[0] != "serve"


def _arguments(command: Sequence[str]) -> list[str]:
    """Return the words after ``vllm serve`` or the module's name; all words for an image's arguments."""
    listed = flags.words(command)
    for index, word in enumerate(listed):
        if word.startswith("vllm.entrypoints"):
            return listed[index + 1 :]
        if os.path.basename(word) == "vllm" and listed[index + 1 : index + 2] == ["serve"]:
            return listed[index + 2 :]
    return listed[1:] if listed[:1] == ["serve"] else listed


def _lora_name(word: str) -> str | None:
    if word.startswith("{"):
        try:
            name = json.loads(word).get("name")
        except ValueError:
            return None
        return name if isinstance(name, str) else None
    name, equals, _ = word.partition("=")
    return name if equals else None
