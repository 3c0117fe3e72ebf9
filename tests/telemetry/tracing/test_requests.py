"""A record's spans."""

from __future__ import annotations

from typing import Any

import pytest

from hotseat.core.views import Upstream
from hotseat.gateway.proxy.access_log import RequestRecord
from hotseat.telemetry.tracing.requests import ServerAddress, spans
from hotseat.telemetry.tracing.span import Span

TRACE, SPAN, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
S = 1_000_000_000
ENDED = 100 * S


def made(**terms: Any) -> list[Span]:
    record = RequestRecord(
        **{
            "id": "req-1",
            "method": "POST",
            "path": "/v1/chat/completions",
            "route": "site",
            "model": "chat",
            "status": 200,
            "duration_s": 10.0,
            "trace": f"00-{TRACE}-{SPAN}-01",
            **terms,
        }
    )
    return spans(
        record,
        ended_ns=ENDED,
        server=ServerAddress("https", "127.0.0.1", 8000),
        engine="vllm",
        upstream=Upstream(model="chat", run=1, host="10.0.0.2", port=8001),
        starts=[(1, 2)],
    )


def test_a_request_that_waited_and_was_served() -> None:
    whole, wait, served = made(
        waited_s=4.0, first_byte_s=4.5, tokens_in=3, tokens_out=5, stream=True, key="site", parent=CALLER
    )
    assert {span.trace_id for span in (whole, wait, served)} == {int(TRACE, 16)}
    assert (whole.kind, whole.parent_id, whole.parent_remote) == ("server", int(CALLER, 16), True)
    assert wait.parent_id == served.parent_id == whole.span_id
    assert served.span_id == int(SPAN, 16)  # what the model's server was told
    assert (whole.start_ns, whole.end_ns) == (90 * S, ENDED)
    assert (wait.start_ns, wait.end_ns) == (90 * S, 94 * S)
    assert (served.start_ns, served.end_ns) == (94 * S, ENDED)
    assert wait.links == ((1, 2),)
    assert (whole.name, served.name) == ("POST /v1/chat/completions", "chat chat")
    assert served.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "hotseat.model": "chat",
        "server.address": "10.0.0.2",
        "server.port": 8001,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "chat",
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 5,
    }
    assert whole.attributes["url.scheme"] == "https"
    assert whole.attributes["hotseat.key"] == "site"
    assert [span.error for span in (whole, wait, served)] == [None] * 3


def test_a_ready_model_is_not_waited_for() -> None:
    assert [span.kind for span in made(waited_s=0.0004, first_byte_s=1.0)] == ["server", "client"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/completions", "text_completion chat"),
        ("/v1/messages", "chat chat"),
        ("/v1/responses", "chat chat"),
        ("/v1/embeddings", "embeddings chat"),
        ("/v1/audio/speech/what-a-client-makes-up", "POST /site"),
    ],
)
def test_operations(path: str, name: str) -> None:
    whole, served = made(path=path, first_byte_s=1.0)
    assert served.name == name
    assert ("gen_ai.operation.name" in served.attributes) is (name != "POST /site")
    assert "made" not in whole.name


def test_one_that_was_refused_in_line_never_had_a_seat() -> None:
    whole, wait = made(status=503, code="start_failed", waited_s=10.0)
    assert (whole.error, wait.error) == ("start_failed", "start_failed")
    assert whole.attributes["error.type"] == "start_failed"


def test_one_that_left_in_line_and_one_that_left_later() -> None:
    whole, wait = made(status=499, failed="gone", waited_s=9.9999)
    assert (whole.error, wait.error) == (None, "gone")  # not our fault
    _, _, served = made(status=499, failed="gone", waited_s=3.0)
    assert served.error == "gone"


def test_a_server_that_failed() -> None:
    whole, served = made(status=502, code="upstream_failed", failed="upstream")
    assert whole.error == served.error == "upstream_failed"
    whole, served = made(status=200, failed="truncated", first_byte_s=1.0)
    assert (whole.error, served.error) == (None, "truncated")


def test_an_error_of_the_clients_is_one_of_the_call_alone() -> None:
    whole, served = made(status=400, first_byte_s=1.0)
    assert (whole.error, served.error) == (None, "400")
