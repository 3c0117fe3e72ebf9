"""Traces of a running hotseat, as a collector on loopback gets them."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.collector import Collector, collecting
from fakes.hotseat import LIMIT_S, Hotseat

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7"
TOKEN = "collector-0123456789"
QUESTION = "a question that nobody else asks"
MODELS: dict[str, dict[str, Any]] = {
    name: {"footprint": 0.9, "allow_paths": ["/v1/echo"], "residency": 0} for name in ("chat", "coder")
}
SERVER, CLIENT, INTERNAL = 2, 3, 1


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


def launcher(folder: Path, collector: Collector, **env: str) -> Hotseat:
    ours = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{TOKEN}",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    return Hotseat(folder, MODELS, env=ours | env)


def ask(hotseat: Hotseat, path: str, body: Any, **headers: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", hotseat.port, timeout=LIMIT_S)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        raw = answer.read()
        assert answer.status == 200, raw
        return raw
    finally:
        connection.close()


def test_a_request_a_wait_a_start_and_a_swap(tmp_path: Path, collector: Collector) -> None:
    hotseat = launcher(tmp_path, collector)
    try:
        hotseat.start()
        chat = {"messages": [{"role": "user", "content": QUESTION}], "stream": True}
        chat["stream_options"] = {"include_usage": True}
        ask(hotseat, "/chat/v1/chat/completions", chat, traceparent=f"00-{TRACE}-{CALLER}-01")
        first = collector.named("POST /v1/chat/completions")
        assert (first.trace, first.parent, first.kind) == (TRACE, CALLER, SERVER)
        assert first.attributes["http.response.status_code"] == 200
        served = collector.named("chat chat")
        assert (served.trace, served.parent, served.kind) == (TRACE, first.span, CLIENT)
        assert served.attributes["gen_ai.usage.output_tokens"] == 5
        assert served.attributes["gen_ai.request.model"] == "chat"
        wait, start = collector.named("wait for chat"), collector.named("start chat")
        assert (wait.parent, wait.kind) == (first.span, INTERNAL)
        assert wait.links == ((start.trace, start.span),)
        assert "starting" in start.events
        assert first.start <= wait.start < wait.end == served.start < served.end == first.end
        assert start.trace != TRACE

        # The model's server is told to be part of the span of its own work.
        echoed = json.loads(ask(hotseat, "/coder/v1/echo", {}, tracestate="a=b"))
        _, trace, span, _ = echoed["headers"]["traceparent"].split("-")
        spans = collector.until(lambda seen: any(one.span == span for one in seen))
        echo = next(one for one in spans if one.span == span)
        assert (echo.name, echo.kind, echo.trace) == ("POST /coder", CLIENT, trace)
        where = f"{echo.attributes['server.address']}:{echo.attributes['server.port']}"
        assert where == echoed["headers"]["host"]
        assert "tracestate" not in echoed["headers"]  # of no trace
        swap, left, came = map(collector.named, ("swap to coder", "leave chat", "start coder"))
        assert left.parent == came.parent == swap.span
        assert swap.attributes["hotseat.left"] == "chat"
    finally:
        status = hotseat.stop()
        hotseat.sweep()
    assert status == 0
    assert collector.resource["service.name"] == "hotseat"
    assert collector.resource["deployment.environment.name"] == "test"
    assert {headers["authorization"] for headers in collector.headers} == {f"Bearer {TOKEN}"}
    assert QUESTION.encode() not in collector.raw


def test_after_a_reload_spans_have_the_engine_of_a_new_model(tmp_path: Path, collector: Collector) -> None:
    hotseat = launcher(tmp_path, collector)
    try:
        hotseat.start()
        hotseat.write({**MODELS, "fresh": {"engine": "vllm"}})
        assert hotseat.send("POST", "/admin/reload", {}).json["added"] == ["fresh"]
        for name in ("chat", "fresh"):
            assert hotseat.ask(name, messages=[]).status == 200
        engines = {name: collector.named(f"chat {name}").attributes for name in ("chat", "fresh")}
        assert engines["chat"]["gen_ai.provider.name"] == "openai"
        assert engines["fresh"]["gen_ai.provider.name"] == "vllm"
        assert hotseat.stop() == 0
    finally:
        hotseat.sweep()


def test_what_the_caller_does_not_sample_is_passed_on_and_not_sent(
    tmp_path: Path, collector: Collector
) -> None:
    hotseat = launcher(tmp_path, collector)
    try:
        hotseat.start()
        parent = f"00-{TRACE}-{CALLER}-00"
        echoed = json.loads(ask(hotseat, "/chat/v1/echo", {}, traceparent=parent, tracestate="a=b"))
        told = echoed["headers"]
        assert told["traceparent"].startswith(f"00-{TRACE}-")
        assert told["traceparent"].endswith("-00")
        assert told["traceparent"] != parent
        assert told["tracestate"] == "a=b"
        assert hotseat.stop() == 0
    finally:
        hotseat.sweep()
    assert {one.name for one in collector.spans} == {"start chat"}


def test_nothing_of_a_credential_reaches_a_trace_or_the_models(tmp_path: Path, collector: Collector) -> None:
    key = TRACE  # as hexadecimal as a trace's id, and sent as one by mistake
    hotseat = launcher(tmp_path, collector, VLLM_API_KEY=key)
    try:
        hotseat.start()
        bearer = {"Authorization": f"Bearer {key}", "traceparent": f"00-{key}-{CALLER}-01"}
        echoed = json.loads(ask(hotseat, "/chat/v1/echo", {}, **bearer))
        assert key not in echoed["headers"]["traceparent"]
        [engine] = hotseat.engines()
        environment = Path(f"/proc/{engine}/environ").read_bytes()
        assert TOKEN.encode() not in environment
        assert hotseat.stop() == 0
    finally:
        hotseat.sweep()
    assert [one.parent for one in collector.spans if one.kind == SERVER] == [""]
    assert bytes.fromhex(key) not in collector.raw
    assert key.encode() not in collector.raw
    assert TOKEN not in json.dumps(hotseat.lines)


@pytest.mark.parametrize("status", [500, 503])
def test_a_collector_that_fails_disturbs_nothing(tmp_path: Path, collector: Collector, status: int) -> None:
    collector.fails = status
    hotseat = launcher(tmp_path, collector, OTEL_EXPORTER_OTLP_TIMEOUT="0.5")
    try:
        hotseat.start()
        for _ in range(5):
            assert hotseat.ask("chat").status == 200
        hotseat.told(lambda line: line.get("trouble") == "the collector does not accept traces")
        asked = collector.asked
        hotseat.ask("chat")
        collector.until_asked(asked + 1)
        collector.fails = None
        hotseat.ask("chat")
        hotseat.told(lambda line: line.get("trouble") == "the collector accepts traces again")
        assert hotseat.stop() == 0
    finally:
        hotseat.sweep()
    troubles = [line for line in hotseat.lines if line["event"] == "tracing"]
    assert len(troubles) == 2  # said once each, however often it was tried
    assert not [line for line in hotseat.lines if line.get("logger", "").startswith("opentelemetry")]


def test_without_a_collector_it_starts_serves_and_ends(tmp_path: Path, collector: Collector) -> None:
    hotseat = launcher(tmp_path, collector, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    try:
        hotseat.start()
        assert hotseat.ask("chat").status == 200
        assert hotseat.stop() == 0
    finally:
        hotseat.sweep()


IMPORTED = """
import sys
from hotseat.app import App
from hotseat import config
app = App(config.loads(open({file!r}).read(), {file!r}, {{}}))
print(sorted(name for name in sys.modules if name.startswith(("opentelemetry", "hotseat.telemetry.tracing"))))
"""


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:9"])
def test_where_it_is_off_nothing_is_imported(tmp_path: Path, endpoint: str | None) -> None:
    file = tmp_path / "hotseat.yaml"
    off = {} if endpoint is None else {"tracing": False}
    text = {"state_dir": str(tmp_path), "models": {"chat": {"command": ["x", "{port}"]}}, **off}
    file.write_text(yaml.safe_dump(text))
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    if endpoint:
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED.format(file=str(file))],
        capture_output=True, text=True, timeout=LIMIT_S, env=env, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "['hotseat.telemetry.tracing', 'hotseat.telemetry.tracing.setup']"


def test_where_it_is_off_a_callers_context_passes_as_it_is(tmp_path: Path) -> None:
    hotseat = Hotseat(tmp_path, MODELS, tracing=False)
    try:
        hotseat.start()
        context = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "a=b"}
        echoed = json.loads(ask(hotseat, "/chat/v1/echo", {}, **context))
        assert context.items() <= echoed["headers"].items()
        assert hotseat.stop() == 0
    finally:
        hotseat.sweep()


def test_a_variable_that_is_wrong_is_told_and_its_secret_is_not(tmp_path: Path, collector: Collector) -> None:
    wrong = {
        "OTEL_TRACES_SAMPLER": "sometimes",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={TOKEN},{TOKEN}x",
    }
    hotseat = launcher(tmp_path, collector, **wrong)
    try:
        hotseat.start()
        assert hotseat.ask("chat").status == 200
        assert hotseat.stop() == 0
    finally:
        hotseat.sweep()
    warned = json.dumps(
        [line for line in hotseat.lines if line.get("logger", "").startswith("opentelemetry")]
    )
    assert "sometimes" in warned
    assert TOKEN not in json.dumps(hotseat.lines)
