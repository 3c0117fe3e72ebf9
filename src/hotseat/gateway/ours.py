"""Our own pages: who may open them. Nothing here knows what they are, so a new one is guarded from birth."""

from __future__ import annotations

from hotseat.core.front import Standing
from hotseat.gateway.client import Client
from hotseat.gateway.errors import Problem, Refuse
from hotseat.gateway.head import RequestHead
from hotseat.gateway.keys import Caller, Door

_FOR_ALL = frozenset({b"/healthz", b"/health"})
"""Answered without a key too, and then with no more than up or not."""
_FOR_KEYS = frozenset({b"/openapi.json"})
_READING = frozenset({b"GET", b"HEAD"})


def standing(client: Client, path: bytes, head: RequestHead, door: Door, caller: Caller) -> Standing:
    """What this caller may see of our own pages. Raises ``Refuse`` (401, 403)."""
    origin = head.picked.get(b"origin")
    if client.method not in _READING:
        _refuse_other_sites(client, head)
    if path in _FOR_KEYS:
        door.admit_known(caller, origin)
    elif path not in _FOR_ALL:
        door.admit_admin(caller, origin)
    if caller.problem is not None or caller.origins is not None:
        return Standing.STRANGER  # strangers know a web page's key too
    return Standing.ADMIN if caller.admin else Standing.GUEST


def _refuse_other_sites(client: Client, head: RequestHead) -> None:
    """Raise ``Refuse`` (403) for what a page of another site had a browser send."""
    site = next((value for name, value in client.headers if name == b"sec-fetch-site"), None)
    if site is not None:
        if site not in (b"same-origin", b"none"):
            raise Refuse(_OTHER_SITE)
        return
    origin = head.picked.get(b"origin")
    if origin is not None and origin.partition(b"://")[2] != head.picked.get(b"host"):
        raise Refuse(_OTHER_SITE)


_OTHER_SITE = Problem(
    status=403,
    code="cross_site_request",
    type="permission_error",
    message="orders are not taken from web pages of other sites",
    should_retry=False,
)
