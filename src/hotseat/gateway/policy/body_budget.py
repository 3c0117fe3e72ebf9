"""A budget for request bodies that are held: while they arrive, and until a server has them.

Whoever holds most gives way. Where a body does not fit, the largest unfinished body of the client that holds
more than the one who asks is refused in its place; otherwise the body itself is.
"""

from __future__ import annotations

from collections.abc import Callable

from hotseat.gateway.http.errors import ErrorResponse, RequestRefused

SMALL_BYTES = 16 * 1024
"""Bodies up to this size are not counted: the number of connections bounds them."""


class HeldBody:
    """One body, and what it takes of the budget; ended by ``release``."""

    __slots__ = ("_budget", "client", "is_complete", "is_evicted", "on_evict", "size")

    def __init__(self, budget: BodyBudget, client: str, on_evict: Callable[[], object]) -> None:
        self._budget: BodyBudget | None = budget
        self.client = client
        self.on_evict = on_evict
        """Called when the body has to give way to another one; ``grow`` raises from then on."""
        self.size = 0
        self.is_complete = False
        """Whether the whole body has arrived: then it is not evicted any more."""
        self.is_evicted = False

    def grow(self, size: int) -> None:
        """Count the body with so many bytes. Raises ``RequestRefused`` (503) where that is too much."""
        if self.is_evicted:
            raise RequestRefused(_NO_ROOM)
        if self._budget is not None and size > self.size:
            self._budget.grow(self, size)

    def release(self) -> None:
        """Give back what the body takes. May be repeated."""
        budget, self._budget = self._budget, None
        if budget is not None:
            budget.remove(self)


class BodyBudget:
    """The bodies that are held for all clients together."""

    def __init__(self, total_bytes: int, client_bytes: int) -> None:
        """``client_bytes`` is what one client's bodies may take."""
        self.total_bytes = total_bytes
        self.client_bytes = client_bytes
        self.used = 0
        """Bytes of all bodies that are held."""
        self._held: dict[str, set[HeldBody]] = {}
        self._used: dict[str, int] = {}

    def hold(self, client: str, on_evict: Callable[[], object]) -> HeldBody:
        """Begin to hold a body of this client."""
        held = HeldBody(self, client, on_evict)
        self._held.setdefault(client, set()).add(held)
        self._used.setdefault(client, 0)
        return held

    def grow(self, held: HeldBody, size: int) -> None:
        """Count a body with so many bytes (``HeldBody.grow``)."""
        more = size - held.size
        own = self._used[held.client] + more
        if own > self.client_bytes and own > size:  # a single body is bounded by body_limit
            raise RequestRefused(_NO_ROOM)
        while self.used + more > self.total_bytes:
            if not self._evict_for(own):
                raise RequestRefused(_NO_ROOM)
        held.size = size
        self._used[held.client] = own
        self.used += more

    def remove(self, held: HeldBody) -> None:
        """Forget a body (``HeldBody.release``)."""
        self.used -= held.size
        bodies = self._held[held.client]
        bodies.discard(held)
        self._used[held.client] -= held.size
        if not bodies:
            del self._held[held.client], self._used[held.client]

    def _evict_for(self, own: int) -> bool:
        """Refuse an unfinished body of a client that holds more than ``own`` bytes, if there is one."""
        found: HeldBody | None = None
        for client, used in self._used.items():
            if used <= own:
                continue
            for held in self._held[client]:
                if not held.is_complete and held.size and (found is None or held.size > found.size):
                    found = held
        if found is None:
            return False
        found.is_evicted = True
        found.release()
        found.on_evict()
        return True


_NO_ROOM = ErrorResponse(
    status=503,
    code="too_many_bodies",
    type="api_error",
    message="request bodies that are being received take too much memory (body_memory); try again",
    retry_after_s=1,
    should_retry=True,
)
