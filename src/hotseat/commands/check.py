"""``hotseat check``: do the models answer?"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import click

from hotseat.commands import ExitCode, _client
from hotseat.commands._client import CLIENT_KEY_VARIABLES, LauncherClient, LauncherReply
from hotseat.commands._errors import CommandFailed, Interrupted, LauncherUnreachable
from hotseat.commands._table import one_line

FINAL = ("model_failed", "model_backoff", "no_room")
"""Codes of refusals that tell of a failure: asking again at once does not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """What became of one model."""

    model: str
    ok: bool
    status: int | None
    """Of the last answer; ``None``: there was none."""
    took_s: float
    message: str


@click.command(
    "check",
    epilog="""\b
Examples:
  hotseat check --within 300 coder chat
  hotseat check --within 60 --json | jq -r '.models[] | select(.ok | not) | .model'

Exit status: 0 all answered in time, 1 one did not, 2 wrong usage, 3 no launcher answers,
130 interrupted.""",
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--within",
    "within_s",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="What each model has to answer, its start included.",
)
@_client.options
@click.option("--json", "as_json", is_flag=True, help="Print the outcomes as JSON.")
def command(
    names: tuple[str, ...], within_s: float, url: str | None, config: str | None, as_json: bool
) -> None:
    """Ask the models NAME one after the other, and say how long each took to answer.

    Each is asked for its list of models (GET /NAME/v1/models) as a client would, so one that is stopped
    starts for it. Without a NAME: all that the key opens. The key of a client is taken from
    HOTSEAT_API_KEY or VLLM_API_KEY.
    """
    running = _client.connect(url, config, CLIENT_KEY_VARIABLES)
    outcomes = []
    interrupted = False
    try:
        chosen = names or tuple(_all(running))
        width = max(map(len, chosen))
        for name in chosen:
            outcome = ask(running, name, within_s)
            outcomes.append(outcome)
            if not as_json:
                word = "ok    " if outcome.ok else "FAILED"
                told = f"  {outcome.message}" if outcome.message else ""
                click.echo(f"{word}  {name.ljust(width)}  {outcome.took_s:.1f} s{told}")
    except KeyboardInterrupt:
        interrupted = True
    if as_json:
        rows = [{**asdict(one), "took_s": round(one.took_s, 3)} for one in outcomes]
        click.echo(json.dumps({"url": running.url, "models": rows, "interrupted": interrupted}, indent=2))
    if interrupted:
        raise Interrupted("A model that was starting goes on starting.")
    sys.exit(ExitCode.OK if all(one.ok for one in outcomes) else ExitCode.FAILED)


def ask(running: LauncherClient, name: str, within_s: float) -> CheckOutcome:
    """Ask one model until it answers or its time is over. Raises ``LauncherUnreachable``."""
    began = time.monotonic()
    last: LauncherReply | None = None

    def outcome(ok: bool, message: str) -> CheckOutcome:
        return CheckOutcome(
            model=name,
            ok=ok,
            status=last.status if last else None,
            took_s=time.monotonic() - began,
            message=one_line(message),
        )

    while (left_s := began + within_s - time.monotonic()) > 0:
        try:
            last = running.ask(f"/{_client.segment(name)}/v1/models", left_s)
        except TimeoutError:
            break
        except LauncherUnreachable:
            raise
        except CommandFailed as error:
            return outcome(False, str(error))
        if last.status == 200:
            return outcome(True, "")
        if last.retry_after_s is None or last.code in FINAL:
            return outcome(False, _said(last))
        left_s = began + within_s - time.monotonic()
        time.sleep(max(0.0, min(max(1.0, last.retry_after_s), left_s)))
    told = f"; it said last: {_said(last)}" if last else ""
    return outcome(False, f"no answer within {within_s:g} s{told}")


def _said(reply: LauncherReply) -> str:
    if (reply.status, reply.code) == (404, "not_found"):
        return "status 404: there is no route of this name"
    return f"status {reply.status}" + (f": {reply.message}" if reply.message else "")


def _all(running: LauncherClient) -> Iterator[str]:
    try:
        reply = running.ask("/v1/models", _client.ANSWER_TIMEOUT_S)
    except TimeoutError:
        raise CommandFailed(
            f"{running.url} did not answer within {_client.ANSWER_TIMEOUT_S:g} seconds"
        ) from None
    data = reply.body.get("data")
    if reply.status != 200 or not isinstance(data, list):
        raise CommandFailed(reply.message or f"{running.url} answered with status {reply.status}")
    names = [str(one["id"]) for one in data if isinstance(one, dict) and "id" in one]
    if not names:
        raise CommandFailed(f"{running.url} has no model for this key")
    yield from names
