"""Our own pages: who may open them. Nothing here knows what they are, so a new one is guarded from birth."""

from __future__ import annotations

from hotseat.core.access_spec import AdminRole
from hotseat.gateway.access.authenticator import Authenticator, Principal
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.http.headers import RequestHead
from hotseat.gateway.http.request_cycle import RequestCycle

_FOR_ALL = frozenset({b"/healthz", b"/health"})
"""Answered without a key too, and then with no more than up or not."""
_FOR_KEYS = frozenset({b"/openapi.json"})
_READING = frozenset({b"GET", b"HEAD"})


def admin_role(
    client: RequestCycle, path: bytes, head: RequestHead, door: Authenticator, caller: Principal
) -> AdminRole:
    """What this caller may see of our own pages. Raises ``RequestRefused`` (401, 403)."""
    origin = head.picked.get(b"origin")
    if client.method not in _READING:
        _refuse_other_sites(client, head)
    if path in _FOR_KEYS:
        door.admit_known(caller, origin)
    elif path not in _FOR_ALL:
        door.admit_admin(caller, origin)
    if caller.problem is not None or caller.origins is not None:
        return AdminRole.STRANGER  # strangers know a web page's key too
    return AdminRole.ADMIN if caller.admin else AdminRole.GUEST


def _refuse_other_sites(client: RequestCycle, head: RequestHead) -> None:
    """Raise ``RequestRefused`` (403) for what a page of another site had a browser send."""
    site = next((value for name, value in client.headers if name == b"sec-fetch-site"), None)
    if site is not None:
        if site not in (b"same-origin", b"none"):
            raise RequestRefused(_OTHER_SITE)
        return
    origin = head.picked.get(b"origin")
    if origin is not None and origin.partition(b"://")[2] != head.picked.get(b"host"):
        raise RequestRefused(_OTHER_SITE)


_OTHER_SITE = ErrorResponse(
    status=403,
    code="cross_site_request",
    type="permission_error",
    message="orders are not taken from web pages of other sites",
    should_retry=False,
)
