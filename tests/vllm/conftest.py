"""The real vLLM (its CPU build, a tiny random model) behind a running hotseat: ``make test-vllm``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.hotseat import Hotseat, serving

HOME = Path(__file__).resolve().parents[2] / ".vllm"
LIMIT_S = 600.0
"""A start takes half a minute on two idle cores, and many times that on busy ones."""
ENV = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_SERVER_DEV_MODE": "1",  # the sleep endpoints; --enable-sleep-mode refuses to start on a CPU
}


def vllm(**terms: Any) -> dict[str, Any]:
    """A model of hotseat's configuration that the real vLLM serves; two do not fit together."""
    return {
        "command": [
            *(str(HOME / "bin/python"), "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(HOME / "tiny"), "--served-model-name", "tiny", "--max-num-seqs", "4"),
            *("--host", "127.0.0.1", "--port", "{port}", "--enforce-eager"),
        ],
        "env": {**ENV, "VLLM_CACHE_ROOT": str(HOME / "cache")},
        "footprint": 0.9,
        "start_timeout": "10m",
        "stop_grace": "30s",
        **terms,
    }


@pytest.fixture(scope="module")
def hotseat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotseat]:
    """``chat`` stays; ``drowsy`` goes to sleep when it was quiet for three seconds."""
    assert (HOME / "tiny").is_dir(), "the real vLLM is not installed: make test-vllm does it"
    models = {"chat": vllm(), "drowsy": vllm(idle="3s", sleep=1)}
    # Longer than any start here, so that a request waits in one piece.
    yield from serving(Hotseat(tmp_path_factory.mktemp("hotseat"), models, limit_s=LIMIT_S))
