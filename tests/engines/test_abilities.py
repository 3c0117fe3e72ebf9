"""What a command tells of its model's context length and capabilities."""

from __future__ import annotations

import pytest

from hotseat.engines.abilities import CAPABILITIES, capabilities, context_length


@pytest.mark.parametrize(
    ("command", "tokens"),
    [
        ("vllm serve x --max-model-len 32768", 32768),
        ("vllm serve x --max-model-len=32k", 32000),
        ("vllm serve x --max_model_len 32K", 32768),
        ("vllm serve x --max-model-len 1.5k", 1500),
        ("llama-server -m x.gguf -c 4096", 4096),
        ("llama-server -m x.gguf --ctx-size 8192", 8192),
        ("python -m sglang.launch_server --context-length 16384", 16384),
        ("sh -c 'exec vllm serve x --max-model-len 4096'", 4096),
        ("vllm serve x", None),
        ("vllm serve x --max-model-len auto", None),
        ("vllm serve x --max-model-len -1", None),
        ("llama-server -m x.gguf -c 0", None),
        ("python -c 'print(1)'", None),
    ],
)
def test_the_context_length(command: str, tokens: int | None) -> None:
    import shlex

    assert context_length(shlex.split(command)) == tokens


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("vllm serve Qwen/Qwen2.5-7B", ("chat", "completions")),
        (
            "vllm serve x --tool-call-parser hermes",
            ("chat", "completions", "tools"),
        ),
        ("vllm serve x --reasoning-parser qwen3", ("chat", "completions", "reasoning")),
        ("vllm serve x --task embed", ("embeddings",)),
        ("vllm serve x --runner pooling --convert classify", ("classification",)),
        ("vllm serve BAAI/bge-m3", ("embeddings",)),
        ("vllm serve BAAI/bge-reranker-v2-m3", ("rerank",)),
        ("vllm serve intfloat/e5-mistral-7b-instruct", ("embeddings",)),
        ("vllm serve openai/whisper-large-v3", ("transcription",)),
        ("vllm serve hexgrad/Kokoro-82M", ("speech",)),
        ("vllm serve x --served-model-name nomic-embed-text", ("embeddings",)),
        ("llama-server -m /models/bge-small.gguf", ("embeddings",)),
        ("llama-server -m x.gguf --embedding", ("embeddings",)),
        ("llama-server -m x.gguf --reranking", ("rerank",)),
        ("llama-server -m x.gguf --jinja --mmproj y.gguf", ("chat", "completions", "tools", "vision")),
        ("vllm serve embers/Ember-Chat --task generate", ("chat", "completions")),
        ("vllm serve x --lora-modules embed=/a", ("chat", "completions")),
        ("/opt/run-model.sh {port}", ()),
        ("docker run image", ()),
    ],
)
def test_the_capabilities(command: str, found: tuple[str, ...]) -> None:
    import shlex

    assert capabilities(shlex.split(command)) == found
    assert set(found) <= set(CAPABILITIES)
