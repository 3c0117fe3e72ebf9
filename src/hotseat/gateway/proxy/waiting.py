"""Clients that wait for a model: held, or told how far its start is.

A streaming client gets its headers early and then comments (``: …``, which every client ignores), so
that neither the client nor a proxy on the way gives up. All other clients are held in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hotseat.core.views import Loading
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.proxy.lease import Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitPolicy:
    """The treatment of clients that wait for a model."""

    hold_headers_s: float = 2.0
    """How long a stream's headers are held back: until then a failure is answered by a plain error."""
    comment_every_s: float = 2.0
    """Between two comments; proxies on the way give up after tens of seconds of silence. 0: none are sent,
    and streams are held in silence like all other requests. A route may have its own."""


STREAM_HEADERS = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


async def wait_for_lease(
    ticket: Ticket,
    cycle: RequestCycle,
    *,
    route: str,
    hold_headers_s: float,
    comment_every_s: float,
    sign: Callable[[bytes], bytes],
) -> None:
    """Wait until the ticket has its lease. Raises ``LeaseRefused``.

    ``comment_every_s``: the seconds between two comments; 0: the client is told nothing. Otherwise the
    response may have been started on return (``cycle.response_started``). ``sign`` makes of a comment what
    is sent.
    """
    if not comment_every_s:
        while not await ticket.wait():
            pass
        return
    if await ticket.wait(hold_headers_s):
        return
    if not cycle.response_started:
        cycle.start(200, STREAM_HEADERS, None)
    cycle.write(sign(comment(route, ticket.loading())))
    cycle.flush()
    while not await ticket.wait(comment_every_s):
        if not cycle.is_slow:
            cycle.write(sign(comment(route, ticket.loading())))
            cycle.flush()


def comment(route: str, loading: Loading) -> bytes:
    """Say how far a start is: ``: hotseat chat: starting, loading weights, 12 s (about 30 s left)``."""
    state = loading.state.value
    words = [state] if loading.phase == state else [state, loading.phase]
    left = "" if loading.eta_s is None else f" (about {max(0, round(loading.eta_s))} s left)"
    line = f": hotseat {route}: {', '.join(words)}, {round(loading.elapsed_s)} s{left}"
    return " ".join(line.split()).encode() + b"\n\n"
