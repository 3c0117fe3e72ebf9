"""``model: current``, ``may_evict: false``, and whose patience is learned."""

from __future__ import annotations

import json

import pytest

from fakes.gateway import Front, front, model, settings
from hotseat.core.access_spec import PolicySpec
from hotseat.core.errors import Code, Refusal
from hotseat.core.spec import RouteSpec, Settings

pytestmark = pytest.mark.anyio

CURRENT = b'{"model":"current"}'


def config(**terms: object) -> Settings:
    return settings(
        model("chat", capabilities=("chat", "completions")),
        model("embed", capabilities=("embeddings",)),
        model("coder"),
        default_route="chat",
        **terms,
    )


async def asked(gate: Front, path: str = "/v1/chat/completions", body: bytes = CURRENT) -> tuple[str, bool]:
    """The model that a lease was asked of, and whether it may evict."""
    before = len(gate.seats.tickets)
    await gate.ask(path, body)
    ticket = gate.seats.tickets[before]
    return ticket.model, ticket.may_evict


async def test_current_is_whatever_is_loaded_and_evicts_nobody() -> None:
    async with front(config()) as gate:
        gate.seats.ready("coder", 1)
        assert await asked(gate) == ("coder", False)
        assert await asked(gate, body=b'{"model":"coder"}') == ("coder", True)


async def test_current_is_the_default_where_nothing_is_loaded() -> None:
    async with front(config()) as gate:
        gate.seats.waiting_models |= {"chat", "coder"}
        gate.seats.refusals["chat"] = Refusal(code=Code.MODEL_NOT_LOADED, message="no", model="chat")
        assert (await gate.ask("/v1/chat/completions", CURRENT)).status == 503


async def test_current_is_a_model_that_can_do_what_is_asked() -> None:
    async with front(config()) as gate:
        gate.seats.ready("embed", 1)
        gate.seats.ready("coder", 1)
        assert (await asked(gate))[0] == "coder"
        assert (await asked(gate, "/v1/embeddings"))[0] == "embed"


async def test_a_model_that_is_called_current_is_that_model() -> None:
    named = settings(model("current"), model("chat"))
    async with front(named) as gate:
        gate.seats.ready("chat", 1)
        gate.seats.ready("current", 1)
        assert await asked(gate) == ("current", True)


async def test_a_route_that_may_not_evict_says_so_to_the_scheduler() -> None:
    route = RouteSpec(name="tab", model="coder", path="/tab", policy=PolicySpec(may_evict=False))
    async with front(config(routes=(route,))) as gate:
        gate.seats.ready("coder", 1)
        assert await asked(gate, body=b'{"model":"tab"}') == ("coder", False)
        refusal = Refusal(code=Code.MODEL_NOT_LOADED, message="not now", model="coder", should_retry=False)
        gate.seats.refusals["coder"] = refusal
        answer = await gate.ask("/tab/v1/completions", b"{}")
        assert (answer.status, answer.get("x-should-retry")) == (503, "false")
        assert json.loads(answer.body)["error"]["code"] == "model_not_loaded"


async def test_patience_is_learned_by_endpoint_and_not_where_hotseat_gives_up_itself() -> None:
    route = RouteSpec(name="held", model="coder", path="/held", policy=PolicySpec(max_hold_s=60.0))
    async with front(config(routes=(route,))) as gate:
        gate.seats.ready("coder", 1)
        for path, body in (
            ("/coder/v1/completions", b"{}"),
            ("/held/v1/completions", b"{}"),
            ("/held/v1/completions", b'{"stream":true}'),
        ):
            await gate.ask(path, body)
        told = [ticket.endpoint for ticket in gate.seats.tickets]
        assert told == ["/v1/completions", "", "/v1/completions"]
