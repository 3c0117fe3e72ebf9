"""Responses that all endpoints share: JSON, and errors in the shape that OpenAI's clients read."""

from __future__ import annotations

import http

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from hotseat.admin.schema import Error, ErrorDetail


def json_response(body: msgspec.Struct, status: int = 200) -> Response:
    """Encode a response of ``schema``."""
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")


def error_detail(message: str, code: str) -> ErrorDetail:
    """The error of a response; the code serves as its type, too."""
    return ErrorDetail(message=message, type=code, code=code)


def error_response(status: int, message: str, code: str) -> Response:
    """An error, as JSON."""
    return json_response(Error(error=error_detail(message, code)), status)


_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 503: "overloaded"}
_MESSAGES = {
    404: "there is no such page; GET /openapi.json lists all pages",
    405: "this path does not accept this method; GET /openapi.json lists the methods",
}


async def http_error(request: Request, error: Exception) -> Response:
    """Give errors of endpoints and of Starlette itself the same shape (a handler of ``HTTPException``)."""
    assert isinstance(error, HTTPException)
    message = error.detail
    if message == http.HTTPStatus(error.status_code).phrase:  # Starlette's own, which explains nothing
        message = _MESSAGES.get(error.status_code, message)
    code = _CODES.get(error.status_code, "invalid_request_error")
    response = error_response(error.status_code, message, code)
    response.headers.update(error.headers or {})
    return response
