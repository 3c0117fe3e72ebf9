"""Clients that wait for a model: held, or told how far it is.

A streaming client gets the headers early and then comments (``: …``, which every client ignores), so
that neither it nor a tunnel on the way gives up. Everybody else is held in silence.
"""

from __future__ import annotations

from dataclasses import dataclass

from hotseat.core.views import Loading
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.proxy.lease import Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitPolicy:
    """How waiting clients are treated."""

    hold_headers_s: float = 2.0
    """How long a stream's headers are held back, for the sake of a plain error."""
    comment_every_s: float = 2.0
    """Between two comments; proxies on the way give up after tens of seconds of silence."""


STREAM_HEADERS = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


async def wait(
    ticket: Ticket, client: RequestCycle, *, route: str, stream: bool, patience: WaitPolicy
) -> None:
    """Wait until the ticket has its lease. Raises ``Refused``.

    With ``stream``, the response may have been started (``client.response_started``) on return.
    """
    if not stream:
        while not await ticket.wait():
            pass
        return
    if await ticket.wait(patience.hold_headers_s):
        return
    if not client.response_started:
        client.start(200, STREAM_HEADERS, None)
    client.write(comment(route, ticket.loading()))
    client.flush()
    while not await ticket.wait(patience.comment_every_s):
        if not client.is_slow:
            client.write(comment(route, ticket.loading()))
            client.flush()


def comment(route: str, loading: Loading) -> bytes:
    """``: hotseat chat: starting, loading weights, 12 s (about 30 s left)``."""
    state = loading.state.value
    words = [state] if loading.phase == state else [state, loading.phase]
    left = "" if loading.eta_s is None else f" (about {max(0, round(loading.eta_s))} s left)"
    line = f": hotseat {route}: {', '.join(words)}, {round(loading.elapsed_s)} s{left}"
    return " ".join(line.split()).encode() + b"\n\n"
