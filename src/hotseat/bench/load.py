"""Completions as a client gets them: streamed, timed chunk by chunk, several concurrently."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hotseat.bench.figures import quantile, quantiles


class InvalidStream(Exception):
    """A stream that is not a whole completion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One completion, read to its end. Times are monotonic seconds."""

    began_at: float
    chunks: Sequence[float]
    """When each chunk of text arrived."""
    ended_at: float
    tokens: int
    """Reported by the server, otherwise the number of chunks."""
    counted: bool
    """The server reported its number of tokens."""
    finish: str | None
    """``length``: ended by the token limit; ``stop``: ended by the model itself."""

    @property
    def ttft_s(self) -> float:
        """Time to first token: from the request to the first chunk of text."""
        return self.chunks[0] - self.began_at

    @property
    def gaps_s(self) -> list[float]:
        """Times between chunks (inter-token latencies)."""
        return [late - early for early, late in zip(self.chunks, self.chunks[1:], strict=False)]

    @property
    def tokens_per_s(self) -> float | None:
        """Rate of this stream from its first chunk to its last; ``None`` when it is too short."""
        took_s = self.chunks[-1] - self.chunks[0]
        return (self.tokens - 1) / took_s if took_s > 0 and self.tokens > 1 else None

    def as_dict(self) -> dict[str, Any]:
        """The entry in a result's ``runs``."""
        rate = self.tokens_per_s
        return {
            "ttft_s": round(self.ttft_s, 6),
            "tokens": self.tokens,
            "counted": self.counted,
            "finish": self.finish,
            "seconds": round(self.ended_at - self.began_at, 6),
            "tokens_per_s": None if rate is None else round(rate, 3),
        }


def read_stream(
    lines: Iterable[str], began_at: float, clock: Callable[[], float] = time.monotonic
) -> Completion:
    """Read the lines of a streamed chat or text completion. Raises ``InvalidStream``."""
    chunks: list[float] = []
    tokens: int | None = None
    finish: str | None = None
    done = False
    for line in lines:
        if not line.startswith("data:"):
            continue  # a comment: hotseat sends them while the model loads
        at, text = clock(), line[5:].strip()
        if text == "[DONE]":
            done = True
            break
        event = _json(text)
        for choice in event.get("choices") or ():
            if _text_of(choice):
                chunks.append(at)
            finish = choice.get("finish_reason") or finish
        if isinstance(usage := event.get("usage"), dict) and usage.get("completion_tokens"):
            tokens = int(usage["completion_tokens"])
    if not done:
        raise InvalidStream("the stream ended early")
    if finish not in (None, "stop", "length"):
        raise InvalidStream(f"the completion was cut off ({finish})")
    if not chunks:
        raise InvalidStream("the stream contained no text")
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
        event = json.loads(text)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise InvalidStream("an event of the stream is not a JSON object")
    if (error := event.get("error")) is not None:
        message = error.get("message") if isinstance(error, dict) else error
        raise InvalidStream(f"the stream ended with an error: {message}")
    return event


def _text_of(choice: dict[str, Any]) -> str:
    delta = choice.get("delta") or {}
    return str(delta.get("content") or delta.get("reasoning_content") or choice.get("text") or "")


Complete = Callable[[int], Completion]
"""Runs the completion of this number; raises when it fails."""


def run_streams(complete: Complete, streams: int, each: int) -> Iterator[Completion | Exception]:
    """Run ``streams`` concurrent clients with ``each`` completions one after the other; yields as they end.

    A client ends with its first failure; the others continue. Numbers of completions begin at 1.
    """
    ready = threading.Barrier(streams)
    lock = threading.Condition()
    finished: list[Completion | Exception] = []
    left = streams

    def client(number: int) -> None:
        nonlocal left
        try:
            ready.wait()
            for turn in range(each):
                done = complete(1 + turn * streams + number)
                with lock:
                    finished.append(done)
                    lock.notify()
        except Exception as error:
            with lock:
                finished.append(error)
        finally:
            with lock:
                left -= 1
                lock.notify()

    for number in range(streams):
        # Daemon threads do not keep an interrupted program alive.
        threading.Thread(target=client, args=[number], daemon=True).start()
    yielded = 0
    while True:
        with lock:
            while yielded == len(finished) and left:
                lock.wait()
            if yielded == len(finished):
                return
            one = finished[yielded]
            yielded += 1
        yield one


def figures(done: Sequence[Completion]) -> dict[str, float]:
    """The figures of one step's completions; empty for none."""
    if not done:
        return {}
    took_s = max(one.ended_at for one in done) - min(one.began_at for one in done)
    found = {"tokens_per_s": round(sum(one.tokens for one in done) / took_s, 3)}
    rates = [rate for one in done if (rate := one.tokens_per_s) is not None]
    if rates:
        found["stream_tokens_per_s"] = round(quantile(rates, 0.5), 3)
    found |= quantiles("ttft", [one.ttft_s for one in done])
    return found | quantiles("itl", [gap for one in done for gap in one.gaps_s])
