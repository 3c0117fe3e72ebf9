"""Completions as a client takes them: streamed, timed chunk by chunk, several at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hotseat.bench.figures import quantile, quantiles


class BadAnswer(Exception):
    """What came is no completion; why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One completion, taken to its end. Times are monotonic seconds."""

    began_at: float
    chunks: Sequence[float]
    """When each piece of text came."""
    ended_at: float
    tokens: int
    """As the server counts them; where it does not say, the pieces."""
    counted: bool
    """The server said how many tokens it made."""
    finish: str | None
    """``length`` where it went on to the limit, ``stop`` where the model ended by itself."""

    @property
    def ttft_s(self) -> float:
        """From the request to the first piece of text."""
        return self.chunks[0] - self.began_at

    @property
    def gaps_s(self) -> list[float]:
        """Between two pieces."""
        return [late - early for early, late in zip(self.chunks, self.chunks[1:], strict=False)]

    @property
    def tokens_per_s(self) -> float | None:
        """Of this stream, from its first piece to its last; ``None`` for one that is too short."""
        took_s = self.chunks[-1] - self.chunks[0]
        return (self.tokens - 1) / took_s if took_s > 0 and self.tokens > 1 else None

    def as_dict(self) -> dict[str, Any]:
        """For the results."""
        rate = self.tokens_per_s
        return {
            "ttft_s": round(self.ttft_s, 6),
            "tokens": self.tokens,
            "counted": self.counted,
            "finish": self.finish,
            "seconds": round(self.ended_at - self.began_at, 6),
            "tokens_per_s": None if rate is None else round(rate, 3),
        }


def take(lines: Iterable[str], began_at: float, clock: Callable[[], float] = time.monotonic) -> Completion:
    """Read the lines of a stream of chat or text completions. Raises ``BadAnswer``."""
    chunks: list[float] = []
    tokens: int | None = None
    finish: str | None = None
    done = False
    for line in lines:
        if not line.startswith("data:"):
            continue  # comments keep a stream alive while the model loads
        at, text = clock(), line[5:].strip()
        if text == "[DONE]":
            done = True
            break
        piece = _json(text)
        for choice in piece.get("choices") or ():
            if _text_of(choice):
                chunks.append(at)
            finish = choice.get("finish_reason") or finish
        if isinstance(usage := piece.get("usage"), dict) and usage.get("completion_tokens"):
            tokens = int(usage["completion_tokens"])
    if not done:
        raise BadAnswer("the stream broke off before its end")
    if finish not in (None, "stop", "length"):
        raise BadAnswer(f"the completion was cut off ({finish})")
    if not chunks:
        raise BadAnswer("the stream had no text in it")
    counted = tokens is not None
    return Completion(
        began_at=began_at,
        chunks=chunks,
        ended_at=clock(),
        tokens=tokens if tokens is not None else len(chunks),
        counted=counted,
        finish=finish,
    )


def _json(text: str) -> dict[str, Any]:
    try:
        piece = json.loads(text)
    except ValueError:
        piece = None
    if not isinstance(piece, dict):
        raise BadAnswer("a piece of the stream is no JSON object")
    if (error := piece.get("error")) is not None:
        message = error.get("message") if isinstance(error, dict) else error
        raise BadAnswer(f"the stream ended in an error: {message}")
    return piece


def _text_of(choice: dict[str, Any]) -> str:
    delta = choice.get("delta") or {}
    return str(delta.get("content") or delta.get("reasoning_content") or choice.get("text") or "")


Ask = Callable[[int], Completion]
"""Does the completion of this number, each with a prompt of its own; raises what went wrong."""


def at_once(ask: Ask, streams: int, each: int) -> Iterator[Completion | Exception]:
    """``streams`` clients, each with ``each`` completions after one another; yields what comes, as it comes.

    A client that fails ends; the others go on. Numbers of completions begin at 1.
    """
    ready = threading.Barrier(streams)
    lock = threading.Condition()
    came: list[Completion | Exception] = []
    left = streams

    def client(number: int) -> None:
        nonlocal left
        try:
            ready.wait()
            for turn in range(each):
                done = ask(1 + turn * streams + number)
                with lock:
                    came.append(done)
                    lock.notify()
        except Exception as error:
            with lock:
                came.append(error)
        finally:
            with lock:
                left -= 1
                lock.notify()

    for number in range(streams):
        # They hold an interrupted program no longer than itself.
        threading.Thread(target=client, args=[number], daemon=True).start()
    told = 0
    while True:
        with lock:
            while told == len(came) and left:
                lock.wait()
            if told == len(came):
                return
            one = came[told]
            told += 1
        yield one


def figures(done: Sequence[Completion]) -> dict[str, float]:
    """What the completions of one step come to; empty where there are none."""
    if not done:
        return {}
    took_s = max(one.ended_at for one in done) - min(one.began_at for one in done)
    found = {"tokens_per_s": round(sum(one.tokens for one in done) / took_s, 3)}
    rates = [rate for one in done if (rate := one.tokens_per_s) is not None]
    if rates:
        found["stream_tokens_per_s"] = round(quantile(rates, 0.5), 3)
    found |= quantiles("ttft", [one.ttft_s for one in done])
    return found | quantiles("itl", [gap for one in done for gap in one.gaps_s])
