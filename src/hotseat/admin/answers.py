"""Answers that all endpoints share: errors in the clients' shape, and orders that come as JSON."""

from __future__ import annotations

import http
import json
from collections.abc import Iterable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

ORDER_BYTES = 64 * 1024


def error_body(message: str, code: str) -> dict[str, Any]:
    """An error as OpenAI's clients know it."""
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


def error(status: int, message: str, code: str) -> Response:
    """The same as a response."""
    return JSONResponse(error_body(message, code), status_code=status)


_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 503: "overloaded"}
_WORDS = {404: "there is no such page; GET /openapi.json lists them", 405: "this method is not served here"}


async def http_error(request: Request, problem: Exception) -> Response:
    """What an endpoint raised, for Starlette."""
    assert isinstance(problem, HTTPException)
    told = problem.detail
    if told == http.HTTPStatus(problem.status_code).phrase:  # Starlette's own, which say no more
        told = _WORDS.get(problem.status_code, told)
    answer = error(problem.status_code, told, _CODES.get(problem.status_code, "invalid_request_error"))
    answer.headers.update(problem.headers or {})
    return answer


async def order(request: Request, fields: Iterable[str]) -> dict[str, Any]:
    """The JSON object of an order (none is an empty one), which has these fields at most.

    JSON is what a page of another origin cannot send without asking first. Raises ``HTTPException`` (400,
    413, 415).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, 'send JSON, with "Content-Type: application/json"')
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "send the body uncompressed")
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > ORDER_BYTES:
            raise HTTPException(413, f"an order has at most {ORDER_BYTES} bytes")
    try:
        given = json.loads(raw.decode(), object_pairs_hook=_once) if raw else {}
    except (ValueError, RecursionError) as problem:
        why = str(problem) if isinstance(problem, _Twice) else "the body is not valid JSON"
        raise HTTPException(400, why) from None
    if not isinstance(given, dict):
        raise HTTPException(400, "the body must be a JSON object")
    known = list(fields)
    unknown = sorted(set(given) - set(known))
    if unknown:
        told = f"known are {', '.join(known[:-1])} and {known[-1]}" if known else "this order has no fields"
        raise HTTPException(400, f"unknown field {unknown[0][:100]!r}; {told}")
    return given


class _Twice(ValueError):
    """A field was given twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice("a field is given twice")
    return found


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
