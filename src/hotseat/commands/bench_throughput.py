"""``hotseat bench throughput``: tokens per second and latencies of a model's answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from hotseat.bench import load
from hotseat.bench.load import Completion
from hotseat.bench.results import BenchResult
from hotseat.commands import _options
from hotseat.commands._bench import (
    BenchedModel,
    check_writable,
    echo_figures,
    restored,
    results_option,
    results_path,
    save,
)
from hotseat.commands._client import LauncherClient, LauncherRefused, path_segment
from hotseat.commands._credentials import CLIENT_KEYS
from hotseat.commands._errors import CommandFailed
from hotseat.commands._output import count

TEMPERATURE = 0.2
SILENCE_S = 900.0
"""Longest time without a byte; it may include a start."""
WARM_UP_TOKENS = 16


class ConcurrencySteps(click.ParamType[tuple[int, ...]]):
    """Numbers of concurrent streams: ``1,2,4``."""

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
            self.fail("each number must be from 1 to 1024", param, ctx)
        return steps


@click.command(
    "throughput",
    epilog="""\b
Each request is a streamed chat completion of --tokens tokens at temperature 0.2, sent to the route MODEL, so
the figures include hotseat's overhead. ignore_eos keeps the model from ending early; servers that do not
support it may still end early. Every prompt begins differently, so prefix caches do not help. Before each
step, one short completion per stream warms the model up (and starts it) and is not counted.

\b
Examples:
  hotseat bench throughput coder
  hotseat bench throughput coder --concurrency 1,2,4,8 --runs 5

Exit status: 0 measured and saved, 1 failed, 2 wrong usage, 3 no launcher answers, 130 interrupted (finished
completions are saved, marked as incomplete).""",
)
@click.argument("name", metavar="MODEL")
@click.option(
    "--concurrency",
    type=ConcurrencySteps(),
    default=(1,),
    metavar="N,N…",
    help="Numbers of concurrent streams, one step for each. [default: 1]",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    help="Completions per stream in each step.",
)
@click.option(
    "--tokens",
    type=click.IntRange(2, 1_000_000),
    default=1000,
    show_default=True,
    help="Length of each completion.",
)
@results_option
@_options.launcher_options
def command(
    name: str,
    concurrency: tuple[int, ...],
    runs: int,
    tokens: int,
    results_file: Path | None,
    url: str | None,
    config: str | None,
) -> None:
    """Measure throughput of MODEL: tokens per second, time to first token, inter-token latency.

    Reads a client's key from HOTSEAT_API_KEY or VLLM_API_KEY, and an admin key (to see and restore the
    model's state) from HOTSEAT_ADMIN_KEY, ADMIN_API_KEY or VLLM_API_KEY. Afterwards the model is brought
    back to its state before.
    """
    file = results_path(results_file, config)
    check_writable(file)
    subject = BenchedModel(_options.connect(url, config), name)
    client = BenchClient(_options.connect(url, config, CLIENT_KEYS), name)
    if (before := subject.status()) and before.in_flight:
        others = count(before.in_flight, "other request")
        click.echo(f"{subject.model} is serving {others}: they affect the figures.", err=True)
    each = f"{count(runs, 'completion')} of {tokens} tokens per stream"
    click.echo(f"{subject.title()}: {each}, at temperature {TEMPERATURE}.")
    with restored(subject):
        for streams in concurrency:
            _step(subject, client, file, streams, runs, tokens)


def _step(
    subject: BenchedModel, client: BenchClient, file: Path, streams: int, runs: int, tokens: int
) -> None:
    click.echo(f"{count(streams, 'stream')}:")
    for one in load.run_streams(lambda number: client.complete(-number, WARM_UP_TOKENS), streams, 1):
        if isinstance(one, Exception):
            raise CommandFailed(str(one)) from None
    done: list[Completion] = []
    failure: Exception | None = None
    complete = False
    try:
        for one in load.run_streams(lambda number: client.complete(number, tokens), streams, runs):
            if isinstance(one, Exception):
                failure = one
                break
            done.append(one)
            click.echo(f"  {len(done):>4}  {_describe(one)}")
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
                launch=subject.launch_record(),
                complete=complete,
            )
            echo_figures(result)
            _echo_lengths(done, tokens)
            save(file, result)
    if failure is not None:
        raise CommandFailed(f"{count(streams, 'stream')}: {failure}")


def _describe(one: Completion) -> str:
    rate = one.tokens_per_s
    per_s = "" if rate is None else f", {rate:.1f} tokens/s"
    return f"{one.tokens} tokens, first after {one.ttft_s:.3f} s{per_s}"


def _echo_lengths(done: list[Completion], tokens: int) -> None:
    short = [one.tokens for one in done if one.counted and one.tokens < tokens]
    if short:
        click.echo(
            f"  {len(short)} ended early, after {min(short)} to {max(short)} of {tokens} tokens: "
            "the route or the context limits them, or the model ended by itself"
        )
    if not all(one.counted for one in done):
        click.echo("  the server does not report tokens: chunks of text are counted instead")


class BenchClient:
    """Sends completions as any client does."""

    def __init__(self, running: LauncherClient, name: str) -> None:
        self._running, self._name = running, name
        self.ignore_eos = True
        """The server accepts the field ``ignore_eos``, as far as is known."""

    def complete(self, number: int, tokens: int) -> Completion:
        """One completion; each ``number`` has a prompt of its own.

        Raises ``CommandFailed``, ``LauncherUnreachable`` and ``InvalidStream``.
        """
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
        path = f"/{path_segment(self._name)}/v1/chat/completions"
        return load.read_stream(self._running.stream(path, body, SILENCE_S), time.monotonic())


def _prompt(number: int) -> str:
    return (
        f"{time.time_ns()}-{number}. Tell the story of a lighthouse keeper, from the first day to the "
        "last, in as many words as you can: the weather, the ships, the visitors, and what the keeper "
        "thought of each."
    )
