"""The official OpenAI SDK through hotseat to a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

ASK: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def client(hotseat: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{hotseat}/v1", api_key="unused", max_retries=0, timeout=60) as client:
        yield client


def test_all_models_are_listed_whatever_their_state(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} >= {"chat", "coder", "missing", "dying"}
    assert client.models.retrieve("coder").id == "coder"


def test_a_chat_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="chat", messages=ASK, max_tokens=8, temperature=0)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert 1 <= answer.usage.completion_tokens <= 8


def test_an_alias_leads_to_its_model(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=ASK, max_tokens=2)
    assert answer.model == "chat"


@pytest.mark.parametrize("model", ["coder", "chat"])  # each takes the seat from the other
def test_a_streamed_chat_answer_over_a_cold_start(client: openai.OpenAI, model: str) -> None:
    stream = client.chat.completions.create(
        model=model,
        messages=ASK,
        max_tokens=8,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert {chunk.model for chunk in chunks} == {model}
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [chunk.usage.completion_tokens <= 8 for chunk in chunks if chunk.usage] == [True]


def test_a_response(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="chat", input="Say hello.", max_output_tokens=8, temperature=0)
    assert answer.output_text


def test_a_path_prefix_beats_the_model_in_the_body(client: openai.OpenAI, hotseat: str) -> None:
    prefixed = client.with_options(base_url=f"{hotseat}/coder/v1")
    answer = prefixed.chat.completions.create(model="chat", messages=ASK, max_tokens=2)
    assert answer.model == "coder"


def test_many_at_once_from_the_asynchronous_client(hotseat: str) -> None:
    async def ask() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{hotseat}/v1", api_key="unused", max_retries=0) as client:
            requests = (
                client.chat.completions.create(model="chat", messages=ASK, max_tokens=4) for _ in range(8)
            )
            return [answer.choices[0].message.content for answer in await asyncio.gather(*requests)]

    answers = asyncio.run(ask())
    assert len(answers) == 8
    assert all(answers)


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=ASK)
    assert caught.value.code == "model_not_found"
    assert "no-such-model" in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_wrong_parameters_are_the_engines_own_400(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="chat", messages="not a list")  # type: ignore[call-overload]
    assert "messages" in caught.value.message


def test_wrong_parameters_in_a_stream_are_an_error(client: openai.OpenAI) -> None:
    # A 400 where the model is ready; an error event where it had to start first.
    with pytest.raises(openai.APIError, match="messages"):
        list(client.chat.completions.create(model="chat", messages="no list", stream=True))  # type: ignore[call-overload]


def test_a_model_that_cannot_start_is_an_error_that_is_not_retried(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="missing", messages=ASK)
    assert caught.value.status_code == 400
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "no-such-command-anywhere" in caught.value.message


def test_a_server_that_dies_while_it_starts_ends_the_stream_with_its_reason(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError) as caught:
        list(client.chat.completions.create(model="dying", messages=ASK, stream=True))
    assert "exited with code 3" in caught.value.message
    assert "giving up" not in caught.value.message  # the server's own lines are for admins
