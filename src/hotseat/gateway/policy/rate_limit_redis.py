"""Rate limits that several launchers share, counted in a Redis by the library ``limits``.

Requests are counted in moving windows, tokens in fixed ones (they are counted when they have been used,
whatever the limit says). Concurrent requests are counted by each launcher for itself. While the store
does not answer, each launcher counts everything for itself.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hotseat.core.access_spec import LimitSpec
from hotseat.gateway.policy.rate_limit import (
    NETWORKS_EACH,
    Limit,
    MemoryGrant,
    MemoryLimiter,
    ipv6_site,
    refusal,
    remaining_headers,
)
from hotseat.installation import install_extra
from hotseat.tasks import Tasks

try:
    from limits import RateLimitItemPerSecond
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter
    from limits.errors import StorageError
    from redis.asyncio import ConnectionPool
except ImportError as missing:  # pragma: no cover - the extra is part of the development environment
    _missing: ImportError | None = missing
else:
    _missing = None

_log = logging.getLogger(__name__)

TIMEOUT_S = 1.0
"""A store that takes longer counts as down."""
DOWN_S = 2.0
"""How long a store that is down is not asked again."""
_SCHEMES = ("redis://", "rediss://", "unix://")


class RateStoreUnavailable(Exception):
    """The store cannot be used; the message tells the operator why."""


class RedisGrant:
    """The grant of a request that is counted in the store."""

    __slots__ = ("_limiter", "_local", "_spent", "counts_tokens", "headers")

    def __init__(
        self, limiter: RedisLimiter, local: MemoryGrant, spent: list[tuple[Any, str]], headers: bytes
    ) -> None:
        self._limiter, self._local, self._spent = limiter, local, spent
        self.headers = headers
        self.counts_tokens = bool(spent)

    def release(self, tokens: int) -> None:
        """End the request. May be repeated."""
        self._local.release(0)
        spent, self._spent = self._spent, []
        if tokens and spent:
            self._limiter.spend(spent, tokens)


class RedisLimiter:
    """Counts in a Redis, shared with other launchers."""

    is_remote = True

    def __init__(self, url: str) -> None:
        """Check the URL and the extra.

        Raises ``RateStoreUnavailable`` for an invalid URL, or where the extra ``redis`` is not installed.
        """
        if _missing is not None:
            raise RateStoreUnavailable(f"the extra is not installed; run: {install_extra('redis')}")
        if not url.startswith(_SCHEMES):
            raise RateStoreUnavailable(f"expected a URL that begins with {', '.join(_SCHEMES)}")
        try:
            self._pool = ConnectionPool.from_url(
                url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
            )
        except ValueError:
            raise RateStoreUnavailable("this is not a valid URL") from None
        self._storage = RedisStorage(
            "async+redis://",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix="hotseat",
            connection_pool=self._pool,  # type: ignore[arg-type]  # passed on to the client
        )
        self._moving = MovingWindowRateLimiter(self._storage)
        self._fixed = FixedWindowRateLimiter(self._storage)
        self._memory = MemoryLimiter(time.monotonic)
        self._tasks = Tasks(self._failed)
        self._down_until = -math.inf

    def limits(self, specs: Sequence[LimitSpec]) -> tuple[Limit, ...]:
        """The limits of these specifications; the store has their counters."""
        return self._memory.limits(specs)

    def keep(self, limits: Iterable[Limit]) -> None:
        """Drop all other limits: they are no longer configured."""
        self._memory.keep(limits)

    def acquire(self, limits: Sequence[Limit], key: str, address: Callable[[], str]) -> MemoryGrant:
        """Admit a request as if the store were down. Raises ``RequestRefused`` (429)."""
        return self._memory.acquire(limits, key, address)

    async def acquire_async(
        self, limits: Sequence[Limit], key: str, address: Callable[[], str]
    ) -> RedisGrant | MemoryGrant:
        """Admit a request. Raises ``RequestRefused`` (429)."""
        if time.monotonic() < self._down_until:
            return self._memory.acquire(limits, key, address)
        # What is counted here can be released; a count in the store cannot, so that comes last.
        local = self._memory.acquire([one for one in limits if one.what == "concurrent"], key, address)
        try:
            headers, spent = await self._count(limits, key, address)
        except StorageError as error:
            local.release(0)
            self._failed("rate_store", error.storage_error)
            return self._memory.acquire(limits, key, address)
        except BaseException:
            local.release(0)
            raise
        return RedisGrant(self, local, spent, headers)

    async def check(self, limits: Sequence[Limit], key: str, address: Callable[[], str]) -> None:
        """Raise ``RequestRefused`` (429) where a limit is reached already; counts nothing."""
        if time.monotonic() < self._down_until:
            self._memory.check_now(limits, key, address)
            return
        try:
            for limit, item, name in self._shared(limits, key, address):
                strategy = self._fixed if limit.what == "tokens" else self._moving
                if not await strategy.test(item, name):
                    raise await self._refusal(limit, item, name)
        except StorageError as error:
            self._failed("rate_store", error.storage_error)

    def check_now(self, limits: Sequence[Limit], key: str, address: Callable[[], str]) -> None:
        """Do the same with what is counted in memory."""
        self._memory.check_now(limits, key, address)

    def _shared(
        self, limits: Sequence[Limit], key: str, address: Callable[[], str]
    ) -> list[tuple[Limit, Any, str]]:
        """Return the limits that are counted in the store, with their items and names there."""
        shared: list[tuple[Limit, Any, str]] = []
        for limit in limits:
            if limit.what == "concurrent":
                continue
            subject = limit.subject(key, address)
            shared.append((limit, _item(limit.spec), f"{limit.spec.scope}/{limit.what}/{subject}"))
            site = ipv6_site(subject)
            if site is not None:  # all networks of the site together
                item = _item(limit.spec, NETWORKS_EACH)
                shared.append((limit, item, f"{limit.spec.scope}/{limit.what}/{site}"))
        return shared

    async def _count(
        self, limits: Sequence[Limit], key: str, address: Callable[[], str]
    ) -> tuple[bytes, list[tuple[Any, str]]]:
        shared = self._shared(limits, key, address)
        for limit, item, name in shared:
            strategy = self._fixed if limit.what == "tokens" else self._moving
            if not await strategy.test(item, name):
                raise await self._refusal(limit, item, name)
        for limit, item, name in shared:
            if limit.what == "requests" and not await self._moving.hit(item, name):
                raise await self._refusal(limit, item, name)  # another launcher came first
        tightest: dict[str, tuple[int, bytes]] = {}
        for limit, item, name in shared:
            left, line = await self._left(limit, item, name)
            if limit.what not in tightest or left < tightest[limit.what][0]:
                tightest[limit.what] = (left, line)
        spent = [(item, name) for limit, item, name in shared if limit.what == "tokens"]
        return b"".join(line for _, line in tightest.values()), spent

    async def _left(self, limit: Limit, item: Any, name: str) -> tuple[int, bytes]:
        strategy = self._fixed if limit.what == "tokens" else self._moving
        stats = await strategy.get_window_stats(item, name)
        reset_s = stats.reset_time - time.time()
        return stats.remaining, remaining_headers(limit.what, limit.amount, stats.remaining, reset_s)

    async def _refusal(self, limit: Limit, item: Any, name: str) -> Exception:
        strategy = self._fixed if limit.what == "tokens" else self._moving
        stats = await strategy.get_window_stats(item, name)
        wait_s = max(1.0, stats.reset_time - time.time())
        return refusal(limit, wait_s, remaining_headers(limit.what, limit.amount, 0, wait_s))

    def spend(self, spent: Sequence[tuple[Any, str]], tokens: int) -> None:
        """Count tokens in the background."""
        self._tasks.start("tokens spent", self._spend(spent, tokens))

    async def _spend(self, spent: Sequence[tuple[Any, str]], tokens: int) -> None:
        try:
            for item, name in spent:
                await self._storage.incr(item.key_for(name), item.get_expiry(), amount=tokens)
        except StorageError as error:
            self._failed("rate_store", error.storage_error)

    def _failed(self, what: str, error: BaseException) -> None:
        why = type(error).__name__  # its message may hold the URL
        if time.monotonic() > self._down_until:
            _log.warning(
                "%s does not answer (%s); rate limits are counted locally until it does",
                what,
                why,
            )
        self._down_until = time.monotonic() + DOWN_S

    async def close(self) -> None:
        """Wait for what is being counted, and close the connections."""
        await self._tasks.close()
        await self._pool.aclose()


def _item(spec: LimitSpec, times: int = 1) -> Any:
    return RateLimitItemPerSecond(spec.amount * times, max(1, math.ceil(spec.per_s)))
