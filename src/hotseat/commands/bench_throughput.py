"""``hotseat bench throughput``: tokens per second, and how long each takes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from hotseat.bench import load
from hotseat.bench.load import Completion
from hotseat.bench.results import BenchResult
from hotseat.commands import _client
from hotseat.commands._bench import (
    BenchedModel,
    keep,
    left_as_found,
    results_option,
    results_path,
    say_figures,
    writable,
)
from hotseat.commands._client import CLIENT_KEY_VARIABLES, LauncherClient, LauncherRefused
from hotseat.commands._errors import CommandFailed

TEMPERATURE = 0.2
SILENCE_S = 900.0
"""Nothing may come for so long: a start may be in it."""
WARM_UP_TOKENS = 16


class ConcurrencySteps(click.ParamType[tuple[int, ...]]):
    """``1,2,4``."""

    name = "steps"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = str(value).split(",")
        if not all(word.strip().isascii() and word.strip().isdigit() for word in words):
            self.fail("expected numbers such as 1,2,4", param, ctx)
        steps = tuple(int(word) for word in words)
        if not all(1 <= step <= 1024 for step in steps):
            self.fail("each step is a number from 1 to 1024", param, ctx)
        return steps


@click.command(
    "throughput",
    epilog="""\b
What is asked: a chat completion of --tokens tokens at temperature 0.2, streamed, through the route MODEL, so
that hotseat's own time is in it. ignore_eos is sent along so that the model does not end early; where the
server does not know that, it may. Every prompt is different at its beginning, so that no prefix cache helps.
Before each step one short completion per stream is not counted; the first of them starts the model.

\b
Examples:
  hotseat bench throughput coder
  hotseat bench throughput coder --concurrency 1,2,4,8 --runs 5

Exit status: 0 measured and kept, 1 it did not work, 2 wrong usage, 3 no launcher answers, 130 interrupted
(what was complete is kept, marked as incomplete).""",
)
@click.argument("name", metavar="MODEL")
@click.option(
    "--concurrency",
    type=ConcurrencySteps(),
    default=(1,),
    metavar="N,N…",
    help="Streams at once, a step each. [default: 1]",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    help="Completions of each stream in a step.",
)
@click.option(
    "--tokens", type=click.IntRange(2, 1_000_000), default=1000, show_default=True, help="Of each completion."
)
@results_option
@_client.options
def command(
    name: str,
    concurrency: tuple[int, ...],
    runs: int,
    tokens: int,
    results_file: Path | None,
    url: str | None,
    config: str | None,
) -> None:
    """Measure what MODEL generates: tokens per second, time to first token, time between tokens.

    The model's key is taken from HOTSEAT_API_KEY or VLLM_API_KEY, an admin's (to see and restore its
    state) from HOTSEAT_ADMIN_KEY, ADMIN_API_KEY or VLLM_API_KEY. Afterwards the model is as it was before.
    """
    file = results_path(results_file, config)
    writable(file)
    subject = BenchedModel(_client.connect(url, config), name)
    client = BenchClient(_client.connect(url, config, CLIENT_KEY_VARIABLES), name)
    if company := subject.stats().get("in_flight", 0):
        click.echo(
            f"Other requests use {subject.model} now ({company}): the figures are of their company, too.",
            err=True,
        )
    click.echo(f"{subject.what()}: {tokens} tokens at temperature {TEMPERATURE}, {runs} per stream.")
    with left_as_found(subject):
        for streams in concurrency:
            _step(subject, client, file, streams, runs, tokens)


def _step(
    subject: BenchedModel, client: BenchClient, file: Path, streams: int, runs: int, tokens: int
) -> None:
    click.echo(f"{streams} at once:")
    for one in load.at_once(lambda number: client.complete(-number, WARM_UP_TOKENS), streams, 1):
        if isinstance(one, Exception):
            raise CommandFailed(str(one)) from None
    done: list[Completion] = []
    problem: Exception | None = None
    complete = False
    try:
        for one in load.at_once(lambda number: client.complete(number, tokens), streams, runs):
            if isinstance(one, Exception):
                problem = one
                break
            done.append(one)
            click.echo(f"  {len(done):>4}  {_told(one)}")
        else:
            complete = True
    finally:
        if done:
            result = BenchResult(
                kind="throughput",
                model=subject.model,
                how={
                    "concurrency": streams,
                    "tokens": tokens,
                    "temperature": TEMPERATURE,
                    "ignore_eos": client.ignore_eos,
                },
                figures=load.figures(done),
                runs=[one.as_dict() for one in done],
                launch=subject.launch,
                complete=complete,
            )
            say_figures(result)
            _say_lengths(done, tokens)
            keep(file, result)
    if problem is not None:
        raise CommandFailed(f"{streams} at once: {problem}")


def _told(one: Completion) -> str:
    rate = one.tokens_per_s
    per_s = "" if rate is None else f", {rate:.1f} tokens/s"
    return f"{one.tokens} tokens, the first after {one.ttft_s:.3f} s{per_s}"


def _say_lengths(done: list[Completion], tokens: int) -> None:
    short = [one.tokens for one in done if one.counted and one.tokens < tokens]
    if short:
        click.echo(
            f"  {len(short)} ended early ({min(short)} to {max(short)} tokens of {tokens}): "
            "a limit of the route or the context, or the model's own end"
        )
    if not all(one.counted for one in done):
        click.echo("  the server does not count tokens: pieces of text are counted instead")


class BenchClient:
    """Asks for completions as any client does."""

    def __init__(self, running: LauncherClient, name: str) -> None:
        self._running, self._name = running, name
        self.ignore_eos = True
        """The server takes it."""

    def complete(self, number: int, tokens: int) -> Completion:
        """One completion. Raises ``CommandFailed``, ``Unreachable``, ``BadAnswer``."""
        try:
            return self._complete(number, tokens)
        except LauncherRefused as refused:
            if refused.reply.status not in (400, 422) or not self.ignore_eos:
                raise
        self.ignore_eos = False
        return self._complete(number, tokens)

    def _complete(self, number: int, tokens: int) -> Completion:
        body: dict[str, Any] = {
            "model": self._name,
            "messages": [{"role": "user", "content": _prompt(number)}],
            "max_tokens": tokens,
            "temperature": TEMPERATURE,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.ignore_eos:
            body["ignore_eos"] = True
        path = f"/{_client.segment(self._name)}/v1/chat/completions"
        return load.take(self._running.stream(path, body, SILENCE_S), time.monotonic())


def _prompt(number: int) -> str:
    return (
        f"{time.time_ns()}-{number}. Tell the story of a lighthouse keeper, from the first day to the "
        "last, in as many words as you can: the weather, the ships, the visitors, and what the keeper "
        "thought of each."
    )
