"""What a client writes is never taken for the cause of a death, however a server logs it."""

from __future__ import annotations

import pytest

from hotseat.engines.pick import engine_named

CAUSES = (
    "safetensors_rust.SafetensorError: invalid header",
    "CUDA out of memory",
    "GatedRepoError: access to the gated repo",
    "Cannot find any model weights with x",
    "error: unrecognized arguments: --quantization",
    "No space left on device",
    "EngineDeadError",
    "ModuleNotFoundError: No module named 'x'",
    "error loading model",
)
WAYS = (
    'INFO:     127.0.0.1:40000 - "GET /v1/models?x={} HTTP/1.1" 404 Not Found',
    '(APIServer pid=12) INFO:     127.0.0.1:40000 - "POST /v1/chat/completions?{} HTTP/1.1" 400 Bad Request',
    "INFO 11-28 01:02:03 [logger.py:39] Received request cmpl-1: prompt: '{}', params: x",
    "(APIServer pid=7) INFO 11-28 01:02:03 [logger.py:39] Received request cmpl-1: prompt: '{}'",
    "WARNING 11-28 01:02:03 [protocol.py:12] The following fields were present but ignored: {}",
    "DEBUG 11-28 01:02:03 [x.py:1] {}",
    "ERROR 11-28 01:02:03 [serving_chat.py:2] Error with model error=ErrorInfo(message='The model `{}` ...')",
    '127.0.0.1 - - [28/Nov/2026:01:02:03 +0000] "GET /?{} HTTP/1.1" 404 -',
    "srv  log_server_r: request: GET /x?{} 127.0.0.1 404",
    "request: POST /v1/chat/completions?{} 127.0.0.1 200",
    '{{"timestamp":1,"level":"INFO","message":"request","path":"/{}"}}',
    "2026-11-28 01:02:03,123 - INFO - prompt: {}",
    "[2026-11-28 01:02:03] INFO: {}",
    "ValueError: unknown role '{}'",
)


@pytest.mark.parametrize("engine", ["vllm", "openai"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cause", CAUSES)
def test_a_clients_text_explains_nothing(engine: str, way: str, cause: str) -> None:
    assert engine_named(engine).hint([way.format(cause)]) is None


@pytest.mark.parametrize("way", WAYS)
def test_the_servers_own_error_counts_beside_it(way: str) -> None:
    lines = [way.format("SafetensorError"), "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"]
    found = engine_named("vllm").hint(lines)
    assert found is not None
    assert found.summary == "out of GPU memory"


@pytest.mark.parametrize(
    "line",
    [
        "(EngineCore pid=3) ERROR 11-28 01:02:03 [core.py:1] safetensors_rust.SafetensorError: bad header",
        "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
        "(EngineCore pid=3) (Worker_TP0 pid=4) ERROR 11-28 01:02:03 [x.py:1] SafetensorError: x",
    ],
)
def test_errors_in_vllms_own_forms_count(line: str) -> None:
    found = engine_named("vllm").hint([line])
    assert found is not None
    assert found.summary == "a file of the model's weights is damaged"
