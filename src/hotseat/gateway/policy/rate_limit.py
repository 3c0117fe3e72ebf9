"""Rate limits: requests, tokens and concurrent requests, counted for each key, each client or all together.

The windows slide. A window is cut into slices, and a slice counts until all of it has left the window, so
no window of that length ever holds more than the limit, wherever it begins. Bursts may be bounded further
(``burst``). A counter takes at most ``SLICES`` small entries, and one limit has at most ``MAX_SUBJECTS``
counters.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from hotseat.core.access_spec import LimitSpec
from hotseat.gateway.http.errors import RETRY_AT_MOST_S, ErrorResponse, RequestRefused

SLICES = 60
MAX_SUBJECTS = 100_000
"""Of one limit. Beyond it the counters that were not used for the longest time are dropped, first those whose
limit is not reached: else whoever has many addresses could make it forget the one that is over its limit."""
NETWORKS_EACH = 16
"""Networks (/64) of one IPv6 site (/48) that are counted apart; further ones are counted together."""
_CLEAN_FROM = 1024
_MANY = 1 << 62
_NOTHING: tuple[tuple[Limit, Counter], ...] = ()


class Counter:
    """The amount that one subject has used of one limit."""

    __slots__ = ("number", "slices", "total")

    def __init__(self) -> None:
        self.slices: deque[list[int]] = deque()
        """Slice number and amount, oldest first."""
        self.total = 0
        self.number = -1
        """The slice in which it was last read: until the next one nothing leaves the window."""


class Limit:
    """One limit and its counters."""

    __slots__ = (
        "_clean_at",
        "_counts",
        "_lines",
        "_sites",
        "_slice_s",
        "amount",
        "by_client",
        "by_key",
        "spec",
        "what",
    )

    def __init__(self, spec: LimitSpec) -> None:
        self.spec = spec
        self.amount = spec.amount
        self.what = spec.what
        self.by_client = spec.per == "client"
        self.by_key = spec.per == "key"
        self._slice_s = spec.per_s / SLICES
        self._lines = _header_template(spec.what, spec.amount)
        self._counts: dict[str, Counter] = {}
        self._sites: dict[str, int] = {}
        """By IPv6 site (/48): how many of its networks have counters."""
        self._clean_at = _CLEAN_FROM

    def subject(self, key: str, address: Callable[[], str]) -> str:
        """The subject whose counter a request uses: the name of a key, or an address after a space."""
        if self.by_key and key:
            return key
        return f" {address()}" if self.by_client or self.by_key else ""

    def count(self, subject: str, now: float) -> Counter:
        """The counter of this subject, less what has left the window."""
        count = self._counts.get(subject)
        if count is None:
            if len(self._counts) >= self._clean_at:
                self._clean(now)
            site = ipv6_site(subject)
            if site is not None:
                if self._sites.get(site, 0) >= NETWORKS_EACH:
                    return self.count(site, now)
                self._sites[site] = self._sites.get(site, 0) + 1
            count = self._counts[subject] = Counter()
            if self._slice_s:
                count.number = int(now / self._slice_s)
        elif self._slice_s and (number := int(now / self._slice_s)) != count.number:
            count.number = number
            self._slide(count, now)
        return count

    def add(self, count: Counter, amount: int, now: float) -> None:
        """Count so much."""
        count.total += amount
        if not self._slice_s:
            return
        number = int(now / self._slice_s)
        slices = count.slices
        if slices and slices[-1][0] == number:
            slices[-1][1] += amount
        else:
            slices.append([number, amount])

    def wait_s(self, count: Counter, now: float) -> float:
        """Seconds until one more is allowed."""
        over = count.total + 1 - self.amount
        for number, amount in count.slices:
            over -= amount
            if over <= 0:
                return (number + 1 + SLICES) * self._slice_s - now
        return 1.0  # concurrent: it cannot be known

    def headers(self, count: Counter, now: float) -> bytes:
        """Header lines: how much is left, and in how many seconds all is, if nothing more comes."""
        if not self._slice_s:
            return b""
        slices = count.slices
        reset_s = (slices[-1][0] + 1 + SLICES) * self._slice_s - now if slices else 0.0
        left = self.amount - count.total
        return self._lines % (left if left > 0 else 0, reset_s + 0.999)

    def _slide(self, count: Counter, now: float) -> None:
        slices = count.slices
        gone = now / self._slice_s - SLICES - 1
        while slices and slices[0][0] <= gone:
            count.total -= slices.popleft()[1]

    def _clean(self, now: float) -> None:
        for subject, count in list(self._counts.items()):
            if self._slice_s:
                self._slide(count, now)
            if not count.total:
                del self._counts[subject]
        if len(self._counts) >= MAX_SUBJECTS and self._slice_s:
            # A quarter at once, so that not every request has to do this. The order is stable.
            leaving = sorted(
                self._counts, key=lambda s: (self._counts[s].total >= self.amount, self._counts[s].number)
            )
            for subject in leaving[: MAX_SUBJECTS // 4]:
                del self._counts[subject]
        self._sites = {}
        for subject in self._counts:
            site = ipv6_site(subject)
            if site is not None:
                self._sites[site] = self._sites.get(site, 0) + 1
        self._clean_at = min(MAX_SUBJECTS, max(_CLEAN_FROM, 2 * len(self._counts)))

    def __len__(self) -> int:
        """The number of counters."""
        return len(self._counts)


def ipv6_site(subject: str) -> str | None:
    """Return the subject of the /48 that an IPv6 network (/64) belongs to; ``None`` for other subjects."""
    if not subject.endswith("/64"):
        return None
    network = ipaddress.IPv6Network(subject[1:])
    return f" {network.supernet(new_prefix=48)}"


class RateLimitGrant(Protocol):
    """The admission of a request by its limits, held until it has ended."""

    @property
    def headers(self) -> bytes:
        """Header lines that say how much is left."""

    @property
    def counts_tokens(self) -> bool:
        """Whether ``release`` has to be given the number of tokens."""

    def release(self, tokens: int) -> None:
        """End the request, which took so many tokens of both directions."""


class Limiter(Protocol):
    """Counts requests against limits, in memory or in a shared store."""

    def limits(self, specs: Sequence[LimitSpec]) -> tuple[Limit, ...]:
        """The limits of these specifications; those that exist already keep their counters."""

    def keep(self, limits: Iterable[Limit]) -> None:
        """Drop all other limits: they are no longer configured."""

    is_remote: bool
    """Whether the counters are in another process: then ``acquire_async`` must be used. It always may be."""

    def acquire(self, limits: Sequence[Limit], key: str, address: Callable[[], str]) -> RateLimitGrant:
        """Admit a request. Raises ``RequestRefused`` (429); then nothing was counted."""

    async def acquire_async(
        self, limits: Sequence[Limit], key: str, address: Callable[[], str]
    ) -> RateLimitGrant:
        """Admit a request. Raises ``RequestRefused`` (429); then nothing was counted."""

    async def check(self, limits: Sequence[Limit], key: str, address: Callable[[], str]) -> None:
        """Raise ``RequestRefused`` (429) where a limit is reached already; counts nothing."""

    def check_now(self, limits: Sequence[Limit], key: str, address: Callable[[], str]) -> None:
        """Do the same with what is counted in memory."""

    async def close(self) -> None:
        """Close connections, end tasks."""


class MemoryGrant(msgspec.Struct, eq=False):
    """The grant of a request that is counted in memory."""

    _held: Sequence[tuple[Limit, Counter]]
    headers: bytes
    counts_tokens: bool
    _clock: Callable[[], float]

    def release(self, tokens: int) -> None:
        """End the request. May be repeated."""
        held, self._held = self._held, _NOTHING
        for limit, count in held:
            if limit.what == "concurrent":
                count.total -= 1
            elif tokens and limit.what == "tokens":
                limit.add(count, tokens, self._clock())


class MemoryLimiter:
    """Counts in this process' memory."""

    is_remote = False

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock()`` is in seconds and never goes back."""
        self._clock = clock
        self._known: dict[LimitSpec, Limit] = {}

    def limits(self, specs: Sequence[LimitSpec]) -> tuple[Limit, ...]:
        """The limits of these specifications; those that exist already keep their counters."""
        made: list[Limit] = []
        for spec in specs:
            for one in split_burst(spec):
                if one not in self._known:
                    self._known[one] = Limit(one)
                made.append(self._known[one])
        return tuple(dict.fromkeys(made))

    def keep(self, limits: Iterable[Limit]) -> None:
        """Drop all other limits: they are no longer configured."""
        self._known = {limit.spec: limit for limit in limits}

    @property
    def size(self) -> int:
        """The number of limits that have counters."""
        return len(self._known)

    async def acquire_async(
        self, limits: Sequence[Limit], key: str, address: Callable[[], str]
    ) -> MemoryGrant:
        """Admit a request. Raises ``RequestRefused`` (429); then nothing was counted."""
        return self.acquire(limits, key, address)

    def acquire(self, limits: Sequence[Limit], key: str, address: Callable[[], str]) -> MemoryGrant:
        """Admit a request. Raises ``RequestRefused`` (429); then nothing was counted."""
        now = self._clock()
        if len(limits) == 1 and limits[0].what == "requests":
            return self._acquire_one(limits[0], key, address, now)
        held: list[tuple[Limit, Counter]] = []
        requests: tuple[Limit, Counter] | None = None
        tokens: tuple[Limit, Counter] | None = None
        most = least = _MANY
        for limit in limits:
            count = limit.count(limit.subject(key, address), now)
            left = limit.amount - count.total
            if left <= 0:
                raise refusal(limit, limit.wait_s(count, now), limit.headers(count, now))
            held.append((limit, count))
            if limit.what == "requests":
                if left < most:
                    most, requests = left, (limit, count)
            elif limit.what == "tokens" and left < least:
                least, tokens = left, (limit, count)
        for limit, count in held:
            if limit.what != "tokens":
                limit.add(count, 1, now)
        headers = b"" if requests is None else requests[0].headers(requests[1], now)
        if tokens is not None:
            headers += tokens[0].headers(tokens[1], now)
        return MemoryGrant(held, headers, tokens is not None, self._clock)

    async def check(self, limits: Sequence[Limit], key: str, address: Callable[[], str]) -> None:
        """Raise ``RequestRefused`` (429) where a limit is reached already; counts nothing."""
        self.check_now(limits, key, address)

    def check_now(self, limits: Sequence[Limit], key: str, address: Callable[[], str]) -> None:
        """Do the same at once."""
        now = self._clock()
        for limit in limits:
            count = limit.count(limit.subject(key, address), now)
            if count.total >= limit.amount:
                raise refusal(limit, limit.wait_s(count, now), limit.headers(count, now))

    def _acquire_one(self, limit: Limit, key: str, address: Callable[[], str], now: float) -> MemoryGrant:
        """The usual case: one limit on requests, and nothing to release."""
        count = limit.count(limit.subject(key, address), now)
        if count.total >= limit.amount:
            raise refusal(limit, limit.wait_s(count, now), limit.headers(count, now))
        limit.add(count, 1, now)
        return MemoryGrant(_NOTHING, limit.headers(count, now), False, self._clock)

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def split_burst(spec: LimitSpec) -> tuple[LimitSpec, ...]:
    """Split a limit with a burst in two: the rate, and the burst in the time that it takes at that rate."""
    if spec.burst is None or spec.burst >= spec.amount:
        return (spec,)
    short = LimitSpec(
        amount=spec.burst,
        per_s=spec.per_s * spec.burst / spec.amount,
        what=spec.what,
        per=spec.per,
        scope=spec.scope,
    )
    return (spec, short)


def refusal(limit: Limit, wait_s: float, headers: bytes) -> RequestRefused:
    """The 429 of this limit."""
    spec = limit.spec
    each = {"client": " for each client", "key": " for each key", "total": ""}[spec.per]
    if spec.what == "concurrent":
        words = f"{spec.amount} concurrent requests{each}"
    else:
        words = f"{spec.amount} {spec.what} in {spec.per_s:g} s{each}"
    pairs = [tuple(line.split(b": ", 1)) for line in headers.split(b"\r\n") if line]
    return RequestRefused(
        ErrorResponse(
            status=429,
            code="rate_limit_exceeded",
            type="requests" if spec.what == "concurrent" else spec.what,
            message=f"the limit of {spec.scope or 'this route'} is reached: {words}",
            retry_after_s=wait_s,
            # Retries that come much too early would only be refused again.
            should_retry=wait_s <= RETRY_AT_MOST_S,
            headers=tuple((name, value) for name, value in pairs),
        )
    )


def remaining_headers(what: str, amount: int, left: int, reset_s: float) -> bytes:
    """Header lines that say how much is left, under OpenAI's names for them."""
    return _header_template(what, amount) % (max(0, left), max(0.0, reset_s) + 0.999)


def _header_template(what: str, amount: int) -> bytes:
    """Header lines with placeholders for the amount that is left and for the seconds until the reset."""
    kind = what.encode()
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%ds\r\n" % (
        kind,
        amount,
        kind,
        kind,
    )
