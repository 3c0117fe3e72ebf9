"""The official Anthropic SDK through hotseat to a real engine."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import pytest
from anthropic.types import MessageParam

ASK: list[MessageParam] = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def client(hotseat: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=hotseat, api_key="unused", max_retries=0, timeout=60) as client:
        yield client


def test_a_message(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model="chat", messages=ASK, max_tokens=8, extra_body={"temperature": 0})
    assert answer.content[0].type == "text"
    assert answer.content[0].text
    assert 1 <= answer.usage.output_tokens <= 8


@pytest.mark.parametrize("model", ["coder", "chat"])  # each takes the seat from the other
def test_a_streamed_message_over_a_cold_start(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(
        model=model, messages=ASK, max_tokens=8, extra_body={"temperature": 0}
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text
    assert final.model == model
    assert final.stop_reason in {"max_tokens", "end_turn"}


def test_a_path_prefix_is_a_base_url(client: anthropic.Anthropic, hotseat: str) -> None:
    answer = client.with_options(base_url=f"{hotseat}/coder").messages.create(
        model="whatever", messages=ASK, max_tokens=2
    )
    assert answer.model == "coder"


def test_an_unknown_model_is_not_found_in_anthropics_words(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="no-such-model", messages=ASK, max_tokens=2)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] == "not_found_error"
    assert "no-such-model" in caught.value.body["error"]["message"]


def test_wrong_parameters_are_the_engines_own_400(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(model="chat", messages=ASK, max_tokens="many")  # type: ignore[call-overload]


def test_a_server_that_dies_while_it_starts_ends_the_stream_with_its_reason(
    client: anthropic.Anthropic,
) -> None:
    with (
        pytest.raises(anthropic.APIError, match="exited with code 3"),
        client.messages.stream(model="dying", messages=ASK, max_tokens=2) as stream,
    ):
        stream.get_final_message()
