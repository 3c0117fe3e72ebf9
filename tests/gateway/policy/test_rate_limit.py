"""Limits, on a clock that the test moves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotseat.core.access_spec import LimitSpec
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.policy.rate_limit import MAX_SUBJECTS, NETWORKS_EACH, Limit, MemoryGrant, MemoryLimiter

pytestmark = pytest.mark.anyio


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def at(address: str) -> Callable[[], str]:
    return lambda: address


class World:
    """A limiter, its clock, and one set of limits."""

    def __init__(self, *specs: LimitSpec) -> None:
        self.clock = Clock()
        self.limiter = MemoryLimiter(self.clock)
        self.limits = self.limiter.limits(specs)

    async def ask(self, key: str = "me", address: str = "10.0.0.1") -> MemoryGrant | ErrorResponse:
        try:
            return self.limiter.acquire(self.limits, key, at(address))
        except RequestRefused as refuse:
            return refuse.problem

    async def enters(self, **who: str) -> bool:
        return isinstance(await self.ask(**who), MemoryGrant)


def minute(amount: int, **more: Any) -> LimitSpec:
    return LimitSpec(amount=amount, per_s=60.0, **{"scope": "model chat", **more})


async def test_so_many_in_a_minute_and_more_when_it_has_passed() -> None:
    world = World(minute(3))
    assert [await world.enters() for _ in range(5)] == [True, True, True, False, False]
    world.clock.now += 59.9
    assert not await world.enters()
    world.clock.now += 1.2
    assert await world.enters()


async def test_the_refusal_says_what_and_when() -> None:
    world = World(minute(2))
    world.clock.now = 1020.0
    await world.ask()
    world.clock.now = 1050.0
    await world.ask()
    refused = await world.ask()
    assert isinstance(refused, ErrorResponse)
    assert (refused.status, refused.code, refused.type) == (429, "rate_limit_exceeded", "requests")
    assert refused.message == "the limit of model chat is reached: 2 requests in 60 s for each key"
    assert refused.retry_after_s == 31.0  # when the slice of the first one has left the window
    assert refused.should_retry
    world.clock.now += 31.0
    assert await world.enters()


async def test_a_wait_longer_than_clients_wait_is_not_to_be_retried() -> None:
    world = World(LimitSpec(amount=1, per_s=86400.0))
    await world.ask()
    refused = await world.ask()
    assert isinstance(refused, ErrorResponse)
    assert refused.should_retry is False


@settings(max_examples=60, deadline=None)
@given(
    amount=st.integers(1, 12),
    steps=st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=80),
)
async def test_no_window_ever_holds_more_than_the_limit(amount: int, steps: list[float]) -> None:
    world = World(minute(amount))
    entered = []
    refused_for = 0.0
    for step in steps:
        world.clock.now += step
        if await world.enters():
            entered.append(world.clock.now)
            refused_for = 0.0
        else:
            refused_for += step
        held = [t for t in entered if t > world.clock.now - 60.0]
        assert len(held) <= amount
        # and nobody is kept out much longer than the window says
        assert len([t for t in entered if t > world.clock.now - 61.1]) >= amount or refused_for == 0.0


async def test_each_key_each_client_and_all_together() -> None:
    by_key = World(minute(1))
    assert await by_key.enters(key="a")
    assert await by_key.enters(key="b")
    assert not await by_key.enters(key="a", address="10.0.0.2")
    by_client = World(minute(1, per="client"))
    assert await by_client.enters(key="a", address="10.0.0.1")
    assert not await by_client.enters(key="b", address="10.0.0.1")
    assert await by_client.enters(key="a", address="10.0.0.2")
    in_total = World(minute(1, per="total"))
    assert await in_total.enters(key="a")
    assert not await in_total.enters(key="b", address="10.0.0.2")


async def test_requests_without_a_key_are_told_apart_by_address_and_from_keys() -> None:
    world = World(minute(1))
    assert await world.enters(key="", address="10.0.0.1")
    assert not await world.enters(key="", address="10.0.0.1")
    assert await world.enters(key="", address="10.0.0.2")
    assert await world.enters(key="10.0.0.1")


async def test_a_burst_is_bounded_and_the_rate_is_kept() -> None:
    world = World(minute(30, burst=5))
    assert [await world.enters() for _ in range(7)] == [True] * 5 + [False] * 2
    entered = 5
    for _ in range(600):  # ten seconds for five, as the rate allows
        world.clock.now += 0.1
        entered += await world.enters()
    assert 29 <= entered <= 30 + 5


async def test_what_is_refused_counts_nowhere() -> None:
    world = World(minute(5), LimitSpec(amount=1, per_s=1.0, scope="key me"))
    assert await world.enters()
    for _ in range(10):
        assert not await world.enters()
    for _ in range(4):
        world.clock.now += 1.1
        assert await world.enters()
    world.clock.now += 1.1
    assert not await world.enters()


async def test_requests_at_once_are_counted_to_their_end() -> None:
    world = World(LimitSpec(amount=2, per_s=0, what="concurrent", scope="model chat"))
    first, second = await world.ask(), await world.ask()
    refused = await world.ask()
    assert isinstance(refused, ErrorResponse)
    assert refused.message == "the limit of model chat is reached: 2 concurrent requests for each key"
    assert isinstance(first, MemoryGrant)
    assert isinstance(second, MemoryGrant)
    first.release(0)
    first.release(0)  # may be repeated
    assert await world.enters()
    assert not await world.enters()
    world.clock.now += 1e6
    assert not await world.enters()


async def test_tokens_are_counted_when_they_are_spent() -> None:
    world = World(minute(100, what="tokens"))
    grant = await world.ask()
    assert isinstance(grant, MemoryGrant)
    assert grant.counts_tokens
    assert await world.enters()
    grant.release(130)
    refused = await world.ask()
    assert isinstance(refused, ErrorResponse)
    assert refused.type == "tokens"
    assert "100 tokens in 60 s" in refused.message
    world.clock.now += 61.1
    assert await world.enters()


async def test_the_headers_tell_of_the_tightest_limit() -> None:
    world = World(minute(10), minute(5, per="client"), minute(1000, what="tokens"))
    grant = await world.ask()
    assert isinstance(grant, MemoryGrant)
    lines = grant.headers.decode().splitlines()
    assert lines[0] == "x-ratelimit-limit-requests: 5"
    assert lines[1] == "x-ratelimit-remaining-requests: 4"
    assert lines[2].startswith("x-ratelimit-reset-requests: 6")
    assert lines[3:5] == ["x-ratelimit-limit-tokens: 1000", "x-ratelimit-remaining-tokens: 1000"]


async def test_memory_is_bounded_whoever_comes() -> None:
    world = World(minute(3, per="client"))
    [limit] = world.limits
    for number in range(5000):
        world.clock.now += 1.0
        assert await world.enters(address=f"10.0.{number >> 8}.{number & 255}")
    assert len(limit) < 1100
    limit = Limit(minute(3, per="client"))
    for number in range(MAX_SUBJECTS + 5000):  # all at once: none is over yet
        count = limit.count(f"{number}", 1.0)
        limit.add(count, 1, 1.0)
    assert len(limit) <= MAX_SUBJECTS


async def test_counts_go_on_under_another_configuration() -> None:
    world = World(minute(1))
    assert await world.enters()
    world.limits = world.limiter.limits([minute(1)])
    assert not await world.enters()
    world.limits = world.limiter.limits([minute(2)])
    assert await world.enters()
    assert len(world.limiter.limits([minute(1), minute(1)])) == 1
    world.limiter.keep(world.limits)
    assert [await world.enters() for _ in range(2)] == [True, False]
    world.limits = world.limiter.limits([minute(1)])  # was forgotten
    assert await world.enters()


async def test_no_count_of_a_limit_that_was_changed_is_left() -> None:
    limiter = MemoryLimiter(lambda: 0.0)
    for amount in range(1, 50):
        specs = [
            LimitSpec(amount=amount, per_s=60.0, burst=1, scope="key a"),
            LimitSpec(amount=amount, per_s=60.0, what="tokens", scope="route b"),
            LimitSpec(amount=amount, per_s=0, what="concurrent", scope="route b"),
        ]
        limits = limiter.limits(specs)
        limiter.keep(limits)
        (limiter.acquire(limits, "a", lambda: "1.1.1.1")).release(5)
        assert limiter.size == len(limits)
        assert sum(map(len, limits)) == len(limits)


def test_a_client_over_its_limit_is_not_forgotten_for_others_sake() -> None:
    limit = Limit(minute(3, per="client"))
    limit.add(limit.count(" 10.0.0.1", 1.0), 3, 1.0)
    for number in range(2 * MAX_SUBJECTS):
        limit.add(limit.count(f"{number}", 2.0), 1, 2.0)
    assert limit.count(" 10.0.0.1", 3.0).total == 3
    assert len(limit) <= MAX_SUBJECTS


def test_who_was_there_last_is_remembered_longest() -> None:
    limit = Limit(minute(3, per="client"))
    limit.add(limit.count("early", 1.0), 1, 1.0)
    for number in range(MAX_SUBJECTS - 1):
        limit.add(limit.count(f"{number}", 2.0), 1, 2.0)
    limit.add(limit.count("early", 9.0), 1, 9.0)
    limit.count("one more", 9.0)
    assert limit.count("early", 9.0).total == 2


def test_the_networks_of_one_ipv6_site_do_not_multiply_its_limit() -> None:
    """A site has 65,536 networks (/64), each of which was counted apart."""
    limiter = MemoryLimiter(lambda: 1.0)
    limits = limiter.limits([minute(3, per="client")])
    passed = 0
    for number in range(500):
        for _ in range(4):
            with contextlib.suppress(RequestRefused):
                limiter.acquire(limits, "", lambda number=number: f"2001:db8:7:{number:x}::/64")
                passed += 1
    assert passed == 3 * (NETWORKS_EACH + 1)
    limiter.acquire(limits, "", lambda: "2001:db8:8:1::/64")  # another site


def test_checking_counts_nothing() -> None:
    limiter = MemoryLimiter(lambda: 1.0)
    limits = limiter.limits([minute(1)])
    for _ in range(5):
        limiter.check_now(limits, "me", str)
    limiter.acquire(limits, "me", str)
    with pytest.raises(RequestRefused):
        limiter.check_now(limits, "me", str)
