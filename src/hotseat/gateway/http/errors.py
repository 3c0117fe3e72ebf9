"""What a client is told when something is refused or fails, in the shape that its API style expects.

OpenAI: ``{"error": {"message", "type", "param", "code"}}``. Anthropic (``/v1/messages…``):
``{"type": "error", "error": {"type", "message"}}``. After the headers of a stream have gone, the same
object travels as an event.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import msgspec

from hotseat.core.errors import Code, Refusal
from hotseat.core.views import Loading

RETRY_AT_MOST_S = 60
"""Older OpenAI SDKs ignore a longer ``Retry-After``."""
_RETRY_DEFAULT_S = 5.0

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_LOADING_CODES = frozenset({Code.MODEL_LOADING, Code.START_TIMEOUT, Code.MODEL_BACKOFF})


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorResponse:
    """One thing to tell a client."""

    status: int
    code: str
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    retry_after_s: float | None = None
    should_retry: bool | None = None
    """Sent as ``x-should-retry``; ``None``: the client's own rules are right."""
    loading: dict[str, Any] | None = None
    upstream_status: int | None = None
    """The model server's own status, where the response's status line has already gone."""
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


class RequestRefused(Exception):
    """The request cannot be served; carries what the client is told."""

    def __init__(self, problem: ErrorResponse) -> None:
        super().__init__(problem.message)
        self.problem = problem


def bad_request(message: str, *, code: str = "invalid_request", param: str | None = None) -> RequestRefused:
    """A 400 in words."""
    return RequestRefused(
        ErrorResponse(status=400, code=code, message=message, param=param, should_retry=False)
    )


def not_found(message: str, *, code: str = "not_found", param: str | None = None) -> RequestRefused:
    """A 404 in words."""
    return RequestRefused(
        ErrorResponse(status=404, code=code, message=message, param=param, should_retry=False)
    )


def body(problem: ErrorResponse, *, anthropic: bool) -> bytes:
    """The error object as JSON."""
    error: dict[str, Any]
    if anthropic:
        kind = _ANTHROPIC_TYPES.get(problem.upstream_status or problem.status, "api_error")
        error = {"type": kind, "message": problem.message}
        whole: dict[str, Any] = {"type": "error", "error": error}
    else:
        error = {
            "message": problem.message,
            "type": problem.type,
            "param": problem.param,
            "code": problem.code,
        }
        whole = {"error": error}
    if problem.upstream_status is not None:
        error["status"] = problem.upstream_status
    if problem.loading is not None:
        whole["loading"] = problem.loading
    return msgspec.json.encode(whole)


def event(problem: ErrorResponse, *, anthropic: bool) -> bytes:
    """The error as the last event of a stream whose headers have gone."""
    data = body(problem, anthropic=anthropic)
    return (b"event: error\ndata: %b\n\n" if anthropic else b"data: %b\n\n") % data


def header_block(problem: ErrorResponse) -> bytes:
    """The header lines that go with the error object, its length not included."""
    lines = [b"content-type: application/json\r\n"]
    if problem.retry_after_s is not None:
        lines.append(b"retry-after: %d\r\n" % _whole_seconds(problem.retry_after_s))
    if problem.should_retry is not None:
        lines.append(b"x-should-retry: true\r\n" if problem.should_retry else b"x-should-retry: false\r\n")
    lines += [b"%b: %b\r\n" % pair for pair in problem.headers]
    return b"".join(lines)


def from_refusal(refusal: Refusal, loading: Loading | None) -> ErrorResponse:
    """A refusal of the core, for the client; ``loading`` tells how far the model is, where it loads."""
    may_retry = refusal.should_retry and refusal.status != 404
    retry_after = refusal.retry_after_s
    if may_retry and retry_after is None:
        retry_after = _RETRY_DEFAULT_S
    described: dict[str, Any] | None = None
    if refusal.code in _LOADING_CODES:
        described = loading_object(loading) if loading is not None else {"model": refusal.model}
    return ErrorResponse(
        status=refusal.status,
        code=refusal.code.value,
        type="invalid_request_error" if refusal.code is Code.MODEL_NOT_FOUND else refusal.code.value,
        message=refusal.message,
        param="model",
        retry_after_s=retry_after if may_retry else None,
        should_retry=may_retry,
        loading=described,
    )


def loading_object(loading: Loading) -> dict[str, Any]:
    """``{"model", "phase", "elapsed_s", "eta_s"}``; ``eta_s`` only where it is known."""
    described: dict[str, Any] = {
        "model": loading.model,
        "phase": loading.phase,
        "elapsed_s": round(loading.elapsed_s),
    }
    if loading.eta_s is not None:
        described["eta_s"] = max(0, round(loading.eta_s))
    return described


def held(model: str, held_s: float, loading: Loading | None) -> ErrorResponse:
    """A request that cannot be told to wait was held for as long as its route allows."""
    if loading is None:
        return ErrorResponse(
            status=503,
            code="held_too_long",
            type="api_error",
            message=f"model {model}: the answer had not begun after {held_s:g} s; ask with stream: true",
            retry_after_s=_RETRY_DEFAULT_S,
            should_retry=False,
        )
    return ErrorResponse(
        status=503,
        code=Code.MODEL_LOADING.value,
        type=Code.MODEL_LOADING.value,
        message=f"model {model} is {loading.state.value} ({loading.phase}): ask again, or with stream: true",
        param="model",
        retry_after_s=loading.eta_s or _RETRY_DEFAULT_S,
        should_retry=True,
        loading=loading_object(loading),
    )


def unreachable(model: str, why: str, *, status: int = 502) -> ErrorResponse:
    """The model's server could not be reached (503), failed before or while it answered (502), or was silent
    for too long (504: the same request would wait as long again, so it is not to be sent again unasked)."""
    return ErrorResponse(
        status=status,
        code={503: "upstream_unreachable", 504: "upstream_timeout"}.get(status, "upstream_failed"),
        type="upstream_error",
        message=f"model {model}: {why}",
        retry_after_s=1 if status == 503 else None,
        should_retry=status != 504,
    )


def from_upstream(status: int, content: bytes) -> ErrorResponse:
    """The model server's own error, told in an event because the headers have gone.

    Its message, type and code are kept where they can be read (vLLM's 401 is a plain string).
    """
    message, kind, code, param = "", "upstream_error", None, None
    try:
        decoded = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        message = content[:500].decode("utf-8", "replace").strip()
    else:
        error = decoded.get("error", decoded) if isinstance(decoded, dict) else decoded
        if isinstance(error, dict):
            message = str(error.get("message") or error.get("detail") or "")
            kind = str(error.get("type") or kind)
            code = error.get("code")
            param = error.get("param")
        else:
            message = str(error)
    return ErrorResponse(
        status=status,
        code=str(code) if code else "upstream_error",
        type=kind,
        message=message or f"the model's server answered {status}",
        param=param if isinstance(param, str) else None,
        upstream_status=status,
    )


def _whole_seconds(seconds: float) -> int:
    return min(max(1, math.ceil(seconds)), RETRY_AT_MOST_S)
