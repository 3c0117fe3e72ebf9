"""Limits shared through a real Redis: two launchers count together; without it each goes on alone."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotseat.core.access_spec import LimitSpec
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.policy.rate_limit import RateLimitGrant
from hotseat.gateway.policy.rate_limit_redis import RateStoreUnavailable, RedisLimiter

pytestmark = [pytest.mark.anyio, pytest.mark.system("redis-server")]

HOUR = LimitSpec(amount=3, per_s=3600.0, scope="model chat")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """A Redis on a socket file."""
    path = tmp_path / "redis.sock"
    process = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "ready to accept connections" in line.lower():
                break
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.communicate()


async def ask(limiter: RedisLimiter, *specs: LimitSpec, key: str = "me") -> RateLimitGrant | ErrorResponse:
    try:
        return await limiter.acquire_async(limiter.limits(specs), key, lambda: "10.0.0.1")
    except RequestRefused as refuse:
        return refuse.problem


async def test_two_launchers_count_together(redis: str) -> None:
    one, other = RedisLimiter(redis), RedisLimiter(redis)
    try:
        visits = [await ask(limiter, HOUR) for limiter in (one, other, one)]
        lefts = [grant.headers.split(b"\r\n")[1] for grant in visits if not isinstance(grant, ErrorResponse)]
        assert lefts == [b"x-ratelimit-remaining-requests: %d" % left for left in (2, 1, 0)]
        refused = await ask(other, HOUR)
        assert isinstance(refused, ErrorResponse)
        assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
        assert refused.retry_after_s is not None
        assert 3000 < refused.retry_after_s <= 3601
        assert not isinstance(await ask(other, HOUR, key="you"), ErrorResponse)
    finally:
        await one.close()
        await other.close()


async def test_tokens_and_requests_at_once(redis: str) -> None:
    tokens = LimitSpec(amount=100, per_s=3600.0, what="tokens", scope="key me")
    at_once = LimitSpec(amount=1, per_s=0, what="concurrent", scope="key me")
    one, other = RedisLimiter(redis), RedisLimiter(redis)
    try:
        grant = await ask(one, tokens, at_once)
        assert not isinstance(grant, ErrorResponse)
        assert grant.counts_tokens
        assert isinstance(await ask(one, at_once), ErrorResponse)
        assert not isinstance(await ask(other, at_once), ErrorResponse)  # each launcher for itself
        grant.release(130)
        async with asyncio.timeout(20):
            while not isinstance(await ask(other, tokens), ErrorResponse):
                pass  # each question is a round trip to the store
        assert not isinstance(await ask(one, at_once), ErrorResponse)
    finally:
        await one.close()
        await other.close()


async def test_what_is_refused_for_being_too_many_at_once_is_counted_nowhere(redis: str) -> None:
    at_once = LimitSpec(amount=1, per_s=0, what="concurrent", scope="model chat")
    limiter = RedisLimiter(redis)
    try:
        grant = await ask(limiter, HOUR, at_once)
        assert not isinstance(grant, ErrorResponse)
        for _ in range(5):
            assert isinstance(await ask(limiter, HOUR, at_once), ErrorResponse)
        grant.release(0)
        left = []
        for _ in range(2):
            again = await ask(limiter, HOUR, at_once)
            assert not isinstance(again, ErrorResponse)
            left.append(again.headers.split(b"\r\n")[1][-1:])
            again.release(0)
        assert left == [b"1", b"0"]
        # and what the store refuses is not at once any more
        for _ in range(2):
            refused = await ask(limiter, HOUR, at_once)
            assert isinstance(refused, ErrorResponse)
            assert refused.type == "requests"
            assert "3600 s" in refused.message
    finally:
        await limiter.close()


async def test_without_the_store_each_counts_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limiter = RedisLimiter(f"unix://:a-password@{tmp_path}/nothing.sock")
    try:
        kinds = [isinstance(await ask(limiter, HOUR), ErrorResponse) for _ in range(4)]
        assert kinds == [False, False, False, True]
        assert caplog.text.count("rate_store does not answer") == 1
        assert "a-password" not in caplog.text
    finally:
        await limiter.close()


def test_a_url_that_is_none_is_said_so() -> None:
    for url in ("http://127.0.0.1", "127.0.0.1:6379", "redis://host:port/0"):
        with pytest.raises(RateStoreUnavailable) as error:
            RedisLimiter(url)
        assert url not in str(error.value)
