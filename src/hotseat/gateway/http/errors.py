"""Error responses, in the shape that the client's API expects.

OpenAI: ``{"error": {"message", "type", "param", "code"}}``. Anthropic (``/v1/messages…``):
``{"type": "error", "error": {"type", "message"}}``. Once the headers of a stream have been sent, the same
object is sent as an event.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import msgspec

from hotseat.core.errors import Code, Refusal
from hotseat.core.views import Loading

RETRY_AT_MOST_S = 60
"""The longest ``Retry-After``; older OpenAI SDKs ignore a longer one."""
_DEFAULT_RETRY_S = 5.0

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
    """An error to answer a client with."""

    status: int
    code: str
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    retry_after_s: float | None = None
    should_retry: bool | None = None
    """Sent as ``x-should-retry``, which OpenAI's SDKs obey; ``None``: leave it to the client."""
    loading: dict[str, Any] | None = None
    """Progress of the model's start, as ``loading_object`` makes it."""
    upstream_status: int | None = None
    """The model server's own status, where the response's status line has been sent already."""
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())
    """Further header fields of the response."""


class RequestRefused(Exception):
    """The request is not served; carries the error for the client."""

    def __init__(self, problem: ErrorResponse) -> None:
        super().__init__(problem.message)
        self.problem = problem


def bad_request(message: str, *, code: str = "invalid_request", param: str | None = None) -> RequestRefused:
    """Make a 400 with this message."""
    return RequestRefused(
        ErrorResponse(status=400, code=code, message=message, param=param, should_retry=False)
    )


def not_found(message: str, *, code: str = "not_found", param: str | None = None) -> RequestRefused:
    """Make a 404 with this message."""
    return RequestRefused(
        ErrorResponse(status=404, code=code, message=message, param=param, should_retry=False)
    )


def body(problem: ErrorResponse, *, anthropic: bool) -> bytes:
    """Return the error object as JSON."""
    error: dict[str, Any]
    if anthropic:
        error_type = _ANTHROPIC_TYPES.get(problem.upstream_status or problem.status, "api_error")
        error = {"type": error_type, "message": problem.message}
        envelope: dict[str, Any] = {"type": "error", "error": error}
    else:
        error = {
            "message": problem.message,
            "type": problem.type,
            "param": problem.param,
            "code": problem.code,
        }
        envelope = {"error": error}
    if problem.upstream_status is not None:
        error["status"] = problem.upstream_status
    if problem.loading is not None:
        envelope["loading"] = problem.loading
    return msgspec.json.encode(envelope)


def event(problem: ErrorResponse, *, anthropic: bool) -> bytes:
    """Return the error as the last event of a stream whose headers have been sent."""
    data = body(problem, anthropic=anthropic)
    return (b"event: error\ndata: %b\n\n" if anthropic else b"data: %b\n\n") % data


def responses_events(
    problem: ErrorResponse, *, sequence_number: int, response_id: str, model: str, created_at: int
) -> bytes:
    """Return the error as the last events of a stream of OpenAI's Responses API.

    First ``error`` (at the top as its schema asks, and as an object, which OpenAI's libraries raise), then
    ``response.failed``, which ends the response: Codex shows its message.
    """
    may_retry = problem.should_retry is not False and not 400 <= (problem.upstream_status or 0) < 500
    error = {"message": problem.message, "type": problem.type, "param": problem.param, "code": problem.code}
    told: dict[str, Any] = {"type": "error", "sequence_number": sequence_number, **error}
    told |= {"type": "error", "error": error}
    if problem.loading is not None:
        told["loading"] = problem.loading
    failed = {
        "type": "response.failed",
        "sequence_number": sequence_number + 1,
        "response": {
            "id": response_id,
            "object": "response",
            "created_at": created_at,
            "status": "failed",
            # Of the codes that Codex knows, the only one after which it does not try again.
            "error": {"code": "server_error" if may_retry else "invalid_prompt", "message": problem.message},
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": None,
            "metadata": {},
            "model": model,
            "output": [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": None,
        },
    }
    return b"event: error\ndata: %b\n\nevent: response.failed\ndata: %b\n\n" % (
        msgspec.json.encode(told),
        msgspec.json.encode(failed),
    )


def header_block(problem: ErrorResponse) -> bytes:
    """Return the header lines of the error response, without ``Content-Length``."""
    lines = [b"content-type: application/json\r\n"]
    if problem.retry_after_s is not None:
        lines.append(b"retry-after: %d\r\n" % _whole_seconds(problem.retry_after_s))
    if problem.should_retry is not None:
        lines.append(b"x-should-retry: true\r\n" if problem.should_retry else b"x-should-retry: false\r\n")
    lines += [b"%b: %b\r\n" % pair for pair in problem.headers]
    return b"".join(lines)


def from_refusal(refusal: Refusal, loading: Loading | None) -> ErrorResponse:
    """Make the error for a refusal by the scheduler; ``loading``: how far the start of the model is."""
    may_retry = refusal.should_retry and refusal.status != 404
    retry_after = refusal.retry_after_s
    if may_retry and retry_after is None:
        retry_after = _DEFAULT_RETRY_S
    progress: dict[str, Any] | None = None
    if refusal.code in _LOADING_CODES:
        progress = loading_object(loading) if loading is not None else {"model": refusal.model}
    return ErrorResponse(
        status=refusal.status,
        code=refusal.code.value,
        type="invalid_request_error" if refusal.code is Code.MODEL_NOT_FOUND else refusal.code.value,
        message=refusal.message,
        param="model",
        retry_after_s=retry_after if may_retry else None,
        should_retry=may_retry,
        loading=progress,
    )


def loading_object(loading: Loading) -> dict[str, Any]:
    """Return ``{"model", "phase", "elapsed_s", "eta_s"}``; ``eta_s`` only where it is known."""
    progress: dict[str, Any] = {
        "model": loading.model,
        "phase": loading.phase,
        "elapsed_s": round(loading.elapsed_s),
    }
    if loading.eta_s is not None:
        progress["eta_s"] = max(0, round(loading.eta_s))
    return progress


def held(model: str, held_s: float, loading: Loading | None) -> ErrorResponse:
    """Make the 503 for a request that was held as long as its route allows (``max_hold``)."""
    if loading is None:
        return ErrorResponse(
            status=503,
            code="held_too_long",
            type="api_error",
            message=f"model {model}: no response within {held_s:g} s; send the request with stream: true",
            retry_after_s=_DEFAULT_RETRY_S,
            should_retry=False,
        )
    return ErrorResponse(
        status=503,
        code=Code.MODEL_LOADING.value,
        type=Code.MODEL_LOADING.value,
        message=f"model {model} is {loading.state.value} ({loading.phase}); retry, or send the request with "
        "stream: true",
        param="model",
        retry_after_s=loading.eta_s or _DEFAULT_RETRY_S,
        should_retry=True,
        loading=loading_object(loading),
    )


def not_loaded(model: str, method: bytes) -> ErrorResponse:
    """Make the 503 for a request that starts no model, while its model is not ready."""
    return ErrorResponse(
        status=503,
        code="model_not_loaded",
        type="api_error",
        message=f"model {model} is not loaded, and this {method.decode('latin-1')} request does not start "
        "it: a POST request that asks it for work does, and so does hotseat start",
        param="model",
        should_retry=False,
    )


def busy(model: str) -> ErrorResponse:
    """Make the 503 for a request that starts no model, while its model has no capacity left."""
    return ErrorResponse(
        status=503,
        code="model_busy",
        type="api_error",
        message=f"model {model} is answering as many requests as it can at once",
        param="model",
        retry_after_s=1,
        should_retry=True,
    )


def unreachable(model: str, reason: str, *, status: int = 502) -> ErrorResponse:
    """Make the error for a model's server that could not be reached (503), failed (502) or timed out (504).

    A 504 is not to be retried automatically: the same request would take as long again. After a 502 the
    client decides: the server may have carried the request out.
    """
    return ErrorResponse(
        status=status,
        code={503: "upstream_unreachable", 504: "upstream_timeout"}.get(status, "upstream_failed"),
        type="upstream_error",
        message=f"model {model}: {reason}",
        retry_after_s=1 if status == 503 else None,
        should_retry={503: True, 504: False}.get(status),
    )


def from_upstream(status: int, content: bytes) -> ErrorResponse:
    """Make an error of the model server's own error response, for an event: the headers have been sent.

    Message, type and code are kept where they can be read (vLLM's 401 is a plain string).
    """
    message, error_type, code, param = "", "upstream_error", None, None
    try:
        decoded = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        message = content[:500].decode("utf-8", "replace").strip()
    else:
        error = decoded.get("error", decoded) if isinstance(decoded, dict) else decoded
        if isinstance(error, dict):
            message = str(error.get("message") or error.get("detail") or "")
            error_type = str(error.get("type") or error_type)
            code = error.get("code")
            param = error.get("param")
        else:
            message = str(error)
    return ErrorResponse(
        status=status,
        code=str(code) if code else "upstream_error",
        type=error_type,
        message=message or f"the model's server answered {status}",
        param=param if isinstance(param, str) else None,
        upstream_status=status,
    )


def _whole_seconds(seconds: float) -> int:
    return min(max(1, math.ceil(seconds)), RETRY_AT_MOST_S)
