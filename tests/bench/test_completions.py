"""Completions, timed; on a clock of the test's own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hotseat.bench import load
from hotseat.bench.load import Completion, InvalidStream, read_stream


def line(**piece: Any) -> str:
    return f"data: {json.dumps(piece)}"


def chunk(text: str, finish: str | None = None) -> str:
    return line(choices=[{"delta": {"content": text}, "finish_reason": finish}])


def clock(*times: float) -> Callable[[], float]:
    return itertools.chain(times, itertools.repeat(times[-1])).__next__


def test_pieces_are_timed_and_tokens_are_the_servers() -> None:
    lines = [
        ": hotseat chat: starting",  # no time of the model's own
        line(choices=[{"delta": {"role": "assistant", "content": ""}}]),
        chunk("a"),
        chunk("b"),
        chunk("", "length"),
        line(choices=[], usage={"completion_tokens": 7}),
        "data: [DONE]",
    ]
    done = read_stream(lines, 10.0, clock(11.0, 12.0, 14.0, 14.1, 14.2, 14.3, 15.0))
    assert (done.ttft_s, done.gaps_s, done.tokens, done.counted) == (2.0, [2.0], 7, True)
    assert done.finish == "length"
    assert done.tokens_per_s == 3.0  # six tokens after the first, in two seconds
    assert done.ended_at == 15.0


def test_a_server_that_does_not_count_has_its_pieces_counted() -> None:
    done = read_stream([chunk("a"), chunk("b"), "data: [DONE]"], 0.0, clock(1.0))
    assert (done.tokens, done.counted, done.tokens_per_s) == (2, False, None)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([chunk("a")], "ended early"),
        (["data: [DONE]"], "no text"),
        ([chunk("a"), line(error={"message": "out of memory"})], "out of memory"),
        (["data: nonsense"], "not a JSON object"),
        ([chunk("a"), chunk("", "abort"), "data: [DONE]"], r"cut off \(abort\)"),
    ],
)
def test_what_is_no_whole_completion_is_no_figure(lines: list[str], words: str) -> None:
    with pytest.raises(InvalidStream, match=words):
        read_stream(lines, 0.0)


def completion(began: float, *chunks: float, tokens: int) -> Completion:
    return Completion(
        began_at=began, chunks=chunks, ended_at=chunks[-1], tokens=tokens, counted=True, finish="length"
    )


def test_a_step_counts_all_streams_over_the_whole_time() -> None:
    done = [completion(0.0, 1.0, 2.0, tokens=11), completion(0.0, 2.0, 5.0, tokens=31)]
    found = load.figures(done)
    assert found["tokens_per_s"] == 8.4  # 42 in five seconds
    assert found["stream_tokens_per_s"] == 10.0
    assert (found["ttft_p50"], found["itl_p50"]) == (1.5, 2.0)
    assert load.figures([]) == {}


def test_streams_run_at_once_and_each_in_order() -> None:
    import threading

    together = threading.Barrier(3, timeout=60)
    asked: list[int] = []

    def ask(number: int) -> Completion:
        together.wait()  # passed only by three at once
        asked.append(number)
        return completion(0.0, 1.0, tokens=2)

    assert len(list(load.run_streams(ask, 3, 2))) == 6
    assert sorted(asked) == [1, 2, 3, 4, 5, 6]


def test_a_stream_that_fails_is_told_and_the_others_go_on() -> None:
    def ask(number: int) -> Completion:
        if number == 1:
            raise InvalidStream("broke off")
        return completion(0.0, 1.0, tokens=2)

    came = list(load.run_streams(ask, 2, 2))
    assert [str(one) for one in came if isinstance(one, Exception)] == ["broke off"]
    assert sum(isinstance(one, Completion) for one in came) == 2


def test_an_answer_without_ignore_eos_is_asked_for_where_that_is_not_known() -> None:
    from hotseat.commands._client import LauncherRefused, LauncherReply
    from hotseat.commands.bench_throughput import BenchClient

    bodies: list[dict[str, Any]] = []

    class Running:
        def stream(self, path: str, body: dict[str, Any], silence_s: float) -> Iterator[str]:
            bodies.append(body)
            if "ignore_eos" in body:
                reply = LauncherReply(
                    status=400, code=None, message="unknown field", retry_after_s=None, body={}
                )
                raise LauncherRefused(reply, path)
            yield from [chunk("a"), "data: [DONE]"]

    client = BenchClient(Running(), "chat")  # type: ignore[arg-type]
    assert client.complete(1, 1000).tokens == 1
    client.complete(2, 1000)
    assert [one.get("ignore_eos") for one in bodies] == [True, None, None]
    assert not client.ignore_eos
    assert {(one["max_tokens"], one["temperature"], one["stream"]) for one in bodies} == {(1000, 0.2, True)}
    prompts = [one["messages"][0]["content"] for one in bodies[1:]]
    assert prompts[0][:30] != prompts[1][:30]
