"""Any OpenAI-compatible server but vLLM; some flags and log lines of llama.cpp are known."""

from __future__ import annotations

import os
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

KEY_VARIABLES = ("LLAMA_API_KEY", "VLLM_API_KEY")
"""Variables from which servers take the key that they ask for."""
FAILURES = (
    *PYTHON_FAILURES,
    failure(r"error: invalid argument: (-\S+)", "unknown flag {0}", permanent=True),
    failure(r"(?:CUDA|cudaMalloc|GPU).*out of memory", "out of GPU memory", oom=True),
    failure(r"failed to load model|error loading model", "the model could not be loaded"),
    *SYSTEM_FAILURES,
)


class OpenAI:
    """A server of which little more than the protocol is known."""

    name = "openai"

    def footprint_share(self, command: Sequence[str]) -> float | None:
        """Return ``None``: unknown."""
        return None

    def served_names(self, command: Sequence[str]) -> tuple[str, ...]:
        """Return ``--alias`` or ``-a`` of llama.cpp's server (one name, or several with commas)."""
        arguments = flags.words(command)
        if not any(os.path.basename(word) == "llama-server" for word in arguments):
            return ()
        alias = flags.value(arguments, "--alias", "-a")
        return tuple(name.strip() for name in alias.split(",") if name.strip()) if alias else ()

    def lora_names(self, command: Sequence[str]) -> tuple[str, ...]:
        """Return none."""
        return ()

    def max_num_seqs(self, command: Sequence[str]) -> int | None:
        """Return ``None``: unknown."""
        return None

    def api_keys(self, command: Sequence[str], env: Mapping[str, str]) -> tuple[str, ...]:
        """Return the values of ``--api-key`` (llama.cpp, SGLang, TGI and others), else of a known variable.

        llama.cpp takes several keys with commas.
        """
        arguments = flags.words(command)
        given = flags.values(arguments, "--api-key", "--api-keys")
        given = given or [env[name] for name in KEY_VARIABLES if env.get(name)][:1]
        if not any(os.path.basename(word) in ("llama-server", "server") for word in arguments):
            return tuple(key for key in given if key)
        return tuple(key.strip() for text in given for key in text.split(",") if key.strip())

    def phase(self, line: str) -> str | None:
        """Return the phase of a line of uvicorn or llama.cpp."""
        if download_progress(line) is not None:
            return DOWNLOADING
        text = line.lower()
        if "application startup complete" in text or "uvicorn running on" in text:
            return "ready"
        if "server is listening on" in text:
            return "starting server"
        return "loading weights" if "loading model" in text or "load_model" in text else None

    def hint(self, lines: Iterable[str]) -> Hint | None:
        """Return the cause from common failure lines (``FAILURES``)."""
        return first_match(FAILURES, lines)
