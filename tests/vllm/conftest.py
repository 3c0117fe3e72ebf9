"""The real vLLM (its CPU build, a tiny random model) behind a running hotseat: ``make test-vllm``.

One hotseat serves all cases with processes, and another one all with containers, since a start is dear:
a case takes what the one before has left, and brings its model into the state that it needs.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes import real_vllm
from fakes.dockerd import Dockerd
from fakes.hotseat import Hotseat, serving


@pytest.fixture(scope="session")
def hotseat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotseat]:
    """``chat`` stays, behind a second, guarded route too; ``drowsy`` and ``deep`` go to sleep when quiet."""
    assert real_vllm.TINY.is_dir(), "the real vLLM is not installed: make test-vllm does it"
    models = {
        "chat": real_vllm.vllm(residency="0s"),
        "curt": real_vllm.vllm(drain_timeout="0s"),
        "drowsy": real_vllm.vllm(idle="3s", sleep=1),
        "deep": real_vllm.vllm(idle="3s", sleep=2),
        "too-long": real_vllm.vllm("--max-model-len", "999999"),
        "no-room": real_vllm.vllm("--kv-cache-memory-bytes", "100000", kv_gib=0),
        "nobody": real_vllm.vllm(model="/no/such/model"),
        "misspelt": real_vllm.vllm("--max-modle-len", "512"),
    }
    routes = {
        "chat": {},
        "bounded": {"model": "chat", "clamp": {"max_tokens": 8}},
        "guarded": {
            "model": "chat",
            "system_prompt": {"text": "You are a parrot.", "mode": "replace"},
            "clamp": {"max_tokens": 8, "n": 1},
        },
    }
    folder = tmp_path_factory.mktemp("hotseat")
    # Longer than any start here, so that a request waits in one piece.
    yield from serving(Hotseat(folder, models, limit_s=real_vllm.LIMIT_S, routes=routes))


@pytest.fixture(scope="session")
def dockerd() -> Iterator[Dockerd]:
    """A Docker Engine."""
    with Dockerd() as engine:
        yield engine


@pytest.fixture(scope="session")
def boxed(dockerd: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotseat]:
    """``boxed`` is a container of vLLM: the configuration says its name, the container the rest."""
    folder = tmp_path_factory.mktemp("boxed")
    real_vllm.add_image(dockerd, folder)
    models = {"boxed": {"start_timeout": "10m", "stop_grace": "30s", "footprint": 0.9}}
    yield from serving(real_vllm.BoxedVllm(dockerd, folder, models, limit_s=real_vllm.LIMIT_S))
