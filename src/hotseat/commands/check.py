"""``hotseat check``: check that models answer in time."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass

import click
import msgspec

from hotseat.admin.schema import HealthResponse
from hotseat.commands import ExitCode, _options
from hotseat.commands._client import RESPONSE_TIMEOUT_S, LauncherClient, LauncherReply, path_segment
from hotseat.commands._credentials import CLIENT_KEYS
from hotseat.commands._errors import CommandFailed, Interrupted, LauncherUnreachable
from hotseat.commands._model_list import ModelList
from hotseat.commands._output import echo_json, one_line
from hotseat.commands._terminal import coloured

FINAL = ("model_failed", "model_backoff", "no_room")
"""Codes of refusals that another request at once does not change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """Result of one model's check request."""

    model: str
    ok: bool
    status: int | None
    """Of the last response; ``None``: there was none."""
    took_s: float
    message: str
    """Why it failed; empty when it did not."""


@click.command(
    "check",
    epilog="""\b
Examples:
  hotseat check --within 300 coder chat
  hotseat check --within 60 --json | jq -r '.models[] | select(.ok | not) | .model'

Exit status: 0 all models answered in time, 1 at least one did not, 2 wrong usage, 3 no launcher answers,
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
    help="Time limit for each model, including its start.",
)
@_options.launcher_options
@_options.json_option("the results")
def command(
    names: tuple[str, ...], within_s: float, url: str | None, config: str | None, as_json: bool
) -> None:
    """Check that the models NAME answer, one after the other, and print how long each took.

    Sends GET /NAME/v1/models as a client would, so that a stopped model starts. Without NAME, checks every
    model that the key gives access to. Reads a client's key from HOTSEAT_API_KEY or VLLM_API_KEY.
    """
    running = _options.connect(url, config, CLIENT_KEYS)
    outcomes = []
    interrupted = False
    try:
        chosen = names or tuple(_all_names(running))
        width = max(map(len, chosen))
        for name in chosen:
            outcome = check_model(running, name, within_s)
            outcomes.append(outcome)
            if not as_json:
                word = "ok    " if outcome.ok else "FAILED"
                message = f"  {outcome.message}" if outcome.message else ""
                click.echo(
                    f"{coloured(word, word.strip())}  {name.ljust(width)}  {outcome.took_s:.1f} s{message}"
                )
    except KeyboardInterrupt:
        interrupted = True
    if as_json:
        rows = [{**asdict(one), "took_s": round(one.took_s, 3)} for one in outcomes]
        echo_json({"url": running.url, "models": rows, "interrupted": interrupted})
    if interrupted:
        raise Interrupted("A model that was starting continues to start.")
    sys.exit(ExitCode.OK if all(one.ok for one in outcomes) else ExitCode.FAILED)


def check_model(running: LauncherClient, name: str, within_s: float) -> CheckOutcome:
    """Send requests to one model until it answers or its time is up. Raises ``LauncherUnreachable``."""
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

    route = name
    while (left_s := began + within_s - time.monotonic()) > 0:
        try:
            last = running.fetch(f"/{path_segment(route)}/v1/models", left_s)
            if last.code == "not_found" and route == name and (found := _route_of_alias(running, name)):
                route = found
                continue
        except TimeoutError:
            break
        except LauncherUnreachable:
            raise
        except CommandFailed as error:
            return outcome(False, str(error))
        if last.status == 200:
            return outcome(True, "")
        if last.retry_after_s is None or last.code in FINAL:
            return outcome(False, _explain(last))
        left_s = began + within_s - time.monotonic()
        time.sleep(max(0.0, min(max(1.0, last.retry_after_s), left_s)))
    latest = f"; last response: {_explain(last)}" if last else ""
    return outcome(False, f"no answer within {within_s:g} s{latest}")


def _route_of_alias(running: LauncherClient, alias: str) -> str | None:
    try:
        routes = running.get("/healthz", HealthResponse, also=503).routes
    except CommandFailed:
        return None
    return next((name for name, route in (routes or {}).items() if alias in route.aliases), None)


def _explain(reply: LauncherReply) -> str:
    if (reply.status, reply.code) == (404, "not_found"):
        return "status 404: no such route"
    return f"status {reply.status}" + (f": {reply.message}" if reply.message else "")


def _all_names(running: LauncherClient) -> list[str]:
    try:
        reply = running.fetch("/v1/models", RESPONSE_TIMEOUT_S)
    except TimeoutError:
        raise CommandFailed(f"{running.url} did not answer within {RESPONSE_TIMEOUT_S:g} seconds") from None
    try:
        names = msgspec.convert(reply.body, ModelList).names if reply.status == 200 else None
    except msgspec.ValidationError:
        names = None
    if names is None:
        raise CommandFailed(reply.message or f"{running.url} answered with status {reply.status}")
    if not names:
        raise CommandFailed(f"this key gives access to no model of {running.url}")
    return names
