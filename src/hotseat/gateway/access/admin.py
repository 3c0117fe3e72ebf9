"""Access to hotseat's own endpoints. The public ones are listed, so a new one is guarded from the start."""

from __future__ import annotations

from hotseat.core.access_spec import AdminRole
from hotseat.gateway.access.authenticator import Authenticator, Principal
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.http.headers import RequestHead
from hotseat.gateway.http.request_cycle import RequestCycle

PUBLIC_PATHS = frozenset({b"/healthz", b"/health", b"/readyz", b"/api/hello"})
"""Answered without a key too; then with the state of the whole only."""
MCP_PATH = b"/mcp"
"""Tools for agents, answered to every key, with the rights of that key."""
PAGE_PATHS = frozenset({b"/", b"/ui"})
PUBLIC_TREE = b"/ui/"
"""The files of the page and the sign-in, answered without a key too: they hold nothing of this machine."""
GUARDED_TREE = b"/ui/api/"
"""What the page asks for."""
ANY_KEY_PATHS = frozenset({b"/openapi.json"})
"""Answered to every key."""
_SAFE_METHODS = frozenset({b"GET", b"HEAD"})


def admin_role(
    cycle: RequestCycle, path: bytes, head: RequestHead, authenticator: Authenticator, principal: Principal
) -> AdminRole:
    """The role in which hotseat's own endpoints answer this client. Raises ``RequestRefused`` (401, 403)."""
    origin = head.picked.get(b"origin")
    if cycle.method not in _SAFE_METHODS:
        _refuse_cross_site(cycle, head)
    if path in ANY_KEY_PATHS or path == MCP_PATH:
        authenticator.require_authenticated(principal, origin)
    elif path not in PUBLIC_PATHS and not is_public_page(path):
        authenticator.require_admin(principal, origin)
    if principal.problem is not None or principal.origins is not None:
        return AdminRole.ANONYMOUS  # a web page's key is public
    return AdminRole.ADMIN if principal.admin else AdminRole.READER


def is_public_page(path: bytes) -> bool:
    """Whether a path is one of the page's own files, or its sign-in."""
    return path in PAGE_PATHS or (path.startswith(PUBLIC_TREE) and not path.startswith(GUARDED_TREE))


def _refuse_cross_site(cycle: RequestCycle, head: RequestHead) -> None:
    """Raise ``RequestRefused`` (403) for a request that another site's page made a browser send."""
    site = next((value for name, value in cycle.headers if name == b"sec-fetch-site"), None)
    if site is not None:
        if site not in (b"same-origin", b"none"):
            raise RequestRefused(_CROSS_SITE)
        return
    origin = head.picked.get(b"origin")
    if origin is not None and origin.partition(b"://")[2] != head.picked.get(b"host"):
        raise RequestRefused(_CROSS_SITE)


_CROSS_SITE = ErrorResponse(
    status=403,
    code="cross_site_request",
    type="permission_error",
    message="web pages of other sites may not change anything here",
    should_retry=False,
)
