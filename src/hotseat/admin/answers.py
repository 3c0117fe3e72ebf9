"""Answers that all endpoints share: errors in the clients' shape, and orders that come as JSON."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


def error_body(message: str, code: str) -> dict[str, Any]:
    """An error as OpenAI's clients know it."""
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


def error(status: int, message: str, code: str) -> Response:
    """The same as a response."""
    return JSONResponse(error_body(message, code), status_code=status)


async def http_error(request: Request, problem: Exception) -> Response:
    """What an endpoint raised, for Starlette."""
    assert isinstance(problem, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed", 503: "overloaded"}
    answer = error(
        problem.status_code, problem.detail, codes.get(problem.status_code, "invalid_request_error")
    )
    answer.headers.update(problem.headers or {})
    return answer


def wants_json(request: Request) -> None:
    """Orders come as JSON: what a page of another origin cannot send without asking first."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, 'send JSON, with "Content-Type: application/json"')


def number(request: Request, name: str, default: int, most: int) -> int:
    """A whole number of the query. Raises ``HTTPException`` (400)."""
    text = request.query_params.get(name, str(default))
    if len(text) > 9 or not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise HTTPException(400, f"{name} must be a number from 1 to {most}")
    return int(text)


def flag(request: Request, name: str) -> bool:
    """A yes or no of the query (``1``, ``true``; ``0``, ``false``). Raises ``HTTPException`` (400)."""
    text = request.query_params.get(name, "0").lower()
    if text not in ("0", "1", "true", "false"):
        raise HTTPException(400, f"{name} must be 1 or 0")
    return text in ("1", "true")
