"""What clients ask of vLLM through hotseat: every kind of answer, errors, the books, a client that leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fakes.hotseat import Hotseat
from fakes.real_vllm import LONG, chat, hello, stream

pytestmark = pytest.mark.vllm

HELLO: Any = [{"role": "user", "content": "Hello"}]
PROMPT = len("Hello\n")
"""Tokens of that chat: bytes, and the template's line end."""
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture
def chatting(hotseat: Hotseat) -> Hotseat:
    chat(hotseat, "chat")
    return hotseat


@pytest.fixture
def client(chatting: Hotseat) -> Iterator[openai.OpenAI]:
    """OpenAI's own client."""
    url = f"http://127.0.0.1:{chatting.port}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def claude(chatting: Hotseat) -> Iterator[anthropic.Anthropic]:
    """Anthropic's own client."""
    url = f"http://127.0.0.1:{chatting.port}"
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as made:
        yield made


def gauge(hotseat: Hotseat, name: str, model: str) -> float:
    """The one value of vLLM's metric, as hotseat hands it on for this model."""
    text = hotseat.send("GET", "/metrics/models").body.decode()
    found = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and sample.labels["model"] == model
    ]
    [value] = found
    return value


def test_chats_and_completions(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="chat", messages=HELLO, max_tokens=3)
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == PROMPT
    more = {"ignore_eos": True}
    events = list(
        client.chat.completions.create(
            model="chat", messages=HELLO, max_tokens=3, stream=True, extra_body=more
        )
    )
    assert events[-1].choices[0].finish_reason == "length"
    text = client.completions.create(model="chat", prompt="Hello", max_tokens=3, extra_body=more)
    assert text.choices[0].finish_reason == "length"
    pieces = list(client.completions.create(model="chat", prompt="Hello", max_tokens=3, stream=True))
    assert pieces[-1].choices[0].finish_reason in ("length", "stop")


def test_responses(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="chat", input="Hello", max_output_tokens=3)
    assert whole.usage is not None
    assert whole.usage.input_tokens == PROMPT
    kinds = [
        event.type
        for event in client.responses.create(model="chat", input="Hello", max_output_tokens=3, stream=True)
    ]
    assert kinds[0] == "response.created"
    assert kinds[-1] in ("response.completed", "response.incomplete")


def test_messages(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(model="chat", messages=HELLO, max_tokens=3)
    assert whole.usage.input_tokens == PROMPT
    assert claude.messages.count_tokens(model="chat", messages=HELLO).input_tokens == PROMPT
    with claude.messages.stream(model="chat", messages=HELLO, max_tokens=3) as streamed:
        final = streamed.get_final_message()
    assert final.usage.output_tokens <= 3
    assert final.stop_reason in ("max_tokens", "end_turn")


def test_tokens_there_and_back(chatting: Hotseat) -> None:
    there = chatting.ask("chat", "/tokenize", prompt="Hello").json
    assert there["count"] == 5
    back = chatting.ask("chat", "/detokenize", tokens=there["tokens"]).json
    assert back["prompt"] == "Hello"


def test_the_list_of_models_is_ours_and_starts_none(chatting: Hotseat) -> None:
    listed = {one["id"]: one for one in chatting.send("GET", "/v1/models").json["data"]}
    assert {"chat", "guarded", "drowsy", "deep"} <= set(listed)
    assert chatting.model("deep")["starts"] == 0
    assert listed["chat"]["status"]["value"] == "loaded"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 99_999}, 400, "max_model_len=2048"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a" * 3000}]}, 400, "2048 tokens"),
        ("/v1/chat/completions", {"messages": HELLO, "tools": [TOOL]}, 400, "--enable-auto-tool-choice"),
        ("/v1/chat/completions", {}, 400, "Field required"),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 99_999}, 400, "max_model_len=2048"),
        ("/v1/embeddings", {"input": "Hello"}, 404, "Not Found"),
    ],
)
def test_what_vllm_refuses_is_handed_on_and_casts_no_doubt_on_it(
    chatting: Hotseat, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    answer = chatting.ask("chat", path, **body)
    assert answer.status == status, answer.body
    assert words in answer.body.decode()
    assert chatting.model("chat")["state"] == "ready"


def test_tools_reach_it(chatting: Hotseat) -> None:
    """It judges them, and answers where it need not call one."""
    answer = chatting.ask("chat", **hello(tools=[TOOL], tool_choice="none", max_tokens=3))
    assert answer.status == 200
    broken = chatting.ask("chat", **hello(tools=[{"type": "function"}], max_tokens=3))
    assert broken.status == 400
    assert "tools" in broken.error["message"]


def test_tokens_are_counted_where_it_tells_them(chatting: Hotseat) -> None:
    def count(tokens: int, **more: Any) -> tuple[int, int]:
        before = chatting.model("chat")
        with stream(chatting, "chat", tokens=tokens, **more) as response:
            response.read()
        after = chatting.until("chat", lambda stats: stats["requests"] > before["requests"])
        return after["tokens_in"] - before["tokens_in"], after["tokens_out"] - before["tokens_out"]

    assert count(7, stream_options={"include_usage": True}) == (PROMPT, 7)
    every = {"include_usage": True, "continuous_usage_stats": True}
    assert count(7, stream_options=every) == (PROMPT, 7)
    assert count(7) == (0, 0)  # not told, not guessed


def test_a_guarded_route_keeps_its_prompt_and_its_bounds(chatting: Hotseat) -> None:
    system = len("You are a parrot.\n")
    answer = chatting.ask("guarded", **hello(max_tokens=100, ignore_eos=True))
    assert answer.json["usage"]["prompt_tokens"] == system + PROMPT
    assert answer.json["usage"]["completion_tokens"] == 8
    other: Any = [{"role": "system", "content": "You are a cat."}, *HELLO]
    answer = chatting.ask("guarded", messages=other)
    assert answer.json["usage"]["prompt_tokens"] == system + PROMPT
    assert answer.json["usage"]["completion_tokens"] <= 8
    answer = chatting.ask("guarded", "/v1/messages", messages=HELLO, max_tokens=100)
    assert answer.json["usage"]["input_tokens"] == system + PROMPT
    answer = chatting.ask("guarded", "/v1/responses", input="Hello", ignore_eos=True)
    assert answer.json["usage"]["input_tokens"] == system + PROMPT
    assert answer.json["usage"]["output_tokens"] <= 8
    # vLLM takes many chats in one request there; the prompt could not be put into each.
    assert chatting.ask("guarded", "/v1/chat/completions/batch", messages=[HELLO]).status == 404


def test_a_bound_holds_for_many_chats_in_one(chatting: Hotseat) -> None:
    answer = chatting.ask("bounded", "/v1/chat/completions/batch", messages=[HELLO, HELLO], ignore_eos=True)
    assert answer.status == 200, answer.body
    assert answer.json["usage"]["completion_tokens"] == 2 * 8


def test_administration_is_out_of_reach(chatting: Hotseat) -> None:
    for path in ("/sleep", "/wake_up", "/collective_rpc", "/pause", "/invocations", "/v1/load_lora_adapter"):
        assert chatting.ask("chat", path).status == 404, path
    assert chatting.send("GET", "/chat/is_sleeping").status == 404
    assert chatting.send("GET", "/chat/server_info").status == 404


def test_it_stops_generating_when_its_client_leaves(chatting: Hotseat) -> None:
    def running() -> float:
        return gauge(chatting, "vllm:num_requests_running", "chat")

    made = gauge(chatting, "vllm:generation_tokens_total", "chat")
    response = stream(chatting, "chat", tokens=LONG)
    assert response.readline().startswith(b"data: ")
    chatting.until("chat", lambda stats: running() == 1.0)
    response.close()
    chatting.until("chat", lambda stats: stats["in_flight"] == 0)
    chatting.until("chat", lambda stats: running() == 0.0)
    assert gauge(chatting, "vllm:generation_tokens_total", "chat") < made + LONG


def test_its_metrics_are_handed_on_under_the_models_name(chatting: Hotseat) -> None:
    assert gauge(chatting, "vllm:num_requests_waiting", "chat") == 0
    text = chatting.send("GET", "/metrics/models").body.decode()
    up = {line for line in text.splitlines() if line.startswith("hotseat_model_metrics_up{")}
    assert 'hotseat_model_metrics_up{model="chat"} 1' in up
    assert 'hotseat_model_metrics_up{model="deep"} 0' in up
