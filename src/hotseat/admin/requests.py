"""Read requests into the types of ``schema``: JSON bodies and queries, with errors that name the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from hotseat.admin.schema import REQUEST_BYTES

T = TypeVar("T", bound=msgspec.Struct)


async def read_body(request: Request, kind: type[T]) -> T:
    """Read a JSON object; an empty body counts as ``{}``. Raises ``HTTPException`` (400, 413, 415).

    Only JSON is accepted: a browser does not send it for a page of another origin without asking first.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, 'send JSON, with "Content-Type: application/json"')
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "send the body uncompressed")
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > REQUEST_BYTES:
            raise HTTPException(413, f"the body is larger than {REQUEST_BYTES} bytes")
    try:
        given = json.loads(raw.decode(), object_pairs_hook=_unique_keys) if raw else {}
    except _DuplicateKey as error:
        raise HTTPException(400, str(error)) from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not valid JSON") from None
    if not isinstance(given, dict):
        raise HTTPException(400, "the body must be a JSON object")
    known = [field.name for field in msgspec.structs.fields(kind)]
    if unknown := sorted(set(given) - set(known)):
        allowed = f"allowed: {', '.join(known)}" if known else "this request takes no fields"
        raise HTTPException(400, f"unknown field {unknown[0][:100]!r}; {allowed}")
    return _convert(given, kind, strict=True)


def read_query(request: Request, kind: type[T]) -> T:
    """Read the query; parameters that ``kind`` does not have are ignored. Raises ``HTTPException`` (400)."""
    return _convert(request.query_params, kind, strict=False)


class _DuplicateKey(ValueError):
    pass


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _DuplicateKey("a field is given twice")
    return found


def _convert(given: Mapping[str, Any], kind: type[T], *, strict: bool) -> T:
    """``strict``: values have the JSON types of ``kind``; otherwise they are text that is to be parsed."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.name not in given:
            if field.required:
                raise HTTPException(400, f"{field.name} is missing: it must be {_expected(field.type)}")
            continue
        value = given[field.name]
        if type(value) is float and value.is_integer():
            value = int(value)  # JSON has one kind of number
        try:
            values[field.name] = msgspec.convert(value, field.type, strict=strict)
        except msgspec.ValidationError:
            raise HTTPException(400, f"{field.name} must be {_expected(field.type)}") from None
    return kind(**values)


def _expected(annotation: Any) -> str:
    """A type and its bounds in words."""
    info = msgspec.inspect.type_info(annotation)
    if isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    if isinstance(info, msgspec.inspect.BoolType):
        return "true or false"
    if isinstance(info, msgspec.inspect.IntType):
        return f"a whole number from {info.ge} to {info.le}"
    return "a string"
