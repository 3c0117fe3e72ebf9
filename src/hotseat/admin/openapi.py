"""``/openapi.json`` and the reference page, derived from ``endpoints`` and the types of ``schema``."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from hotseat import __version__
from hotseat.admin import schema
from hotseat.admin.endpoints import ENDPOINTS, Access, Endpoint

_REFERENCE = "#/components/schemas/{name}"
_ACCESS: dict[Access, str] = {"all": "none needed", "key": "any key", "admin": "an admin key"}


def openapi() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for one in ENDPOINTS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hotseat",
            "version": __version__,
            "description": "hotseat's own endpoints. The models' APIs are at /ROUTE/v1 and /v1.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": _components(),
        },
    }


def _components() -> dict[str, Any]:
    bodies: list[type[msgspec.Struct]] = [schema.Error]
    for one in ENDPOINTS:
        bodies += [kind for kind in (one.body, one.response, *one.error_bodies.values()) if kind is not None]
    return msgspec.json.schema_components(bodies, ref_template=_REFERENCE)[1]


def _operation(one: Endpoint) -> dict[str, Any]:
    errors = dict(one.errors)
    if one.access != "all":
        errors |= {401: "no key, or an unknown one", 403: "this key does not give access"}
    responses = {"200": _response("done", one.response, one.media_type)}
    if one.also_media_type:
        responses["200"]["content"][one.also_media_type] = {}
    for status, words in sorted(errors.items()):
        responses[str(status)] = _response(words, one.error_bodies.get(status, schema.Error))
    operation: dict[str, Any] = {
        "summary": one.summary,
        "operationId": one.method.lower() + "".join(c if c.isalnum() else "_" for c in one.path),
        "security": [] if one.access == "all" else [{"key": []}, {"x-api-key": []}],
        "responses": responses,
    }
    if one.description:
        operation["description"] = one.description
    if parameters := _parameters(one):
        operation["parameters"] = parameters
    if one.body is not None:
        content = {"application/json": {"schema": _reference(one.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _response(
    words: str, kind: type[msgspec.Struct] | None, media_type: str = "application/json"
) -> dict[str, Any]:
    described = {"schema": _reference(kind)} if kind is not None else {}
    if not described and media_type == "application/json":
        described = {"schema": {"type": "object"}}
    return {"description": words, "content": {media_type: described}}


def _reference(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def _parameters(one: Endpoint) -> list[dict[str, Any]]:
    """Path parameters, headers and the query, as OpenAPI describes them."""
    target = {"type": "string", "description": "A model's or a route's name."}
    found = [_parameter(name, "path", dict(target)) for name in re.findall(r"\{(\w+)\}", one.path)]
    found += [
        _parameter(name, "header", {"type": "string", "description": words})
        for name, words in one.headers.items()
    ]
    if one.query is not None:
        found += [_parameter(name, "query", terms) for name, terms in _properties(one.query).items()]
    return found


def _parameter(name: str, where: str, terms: dict[str, Any]) -> dict[str, Any]:
    description = terms.pop("description")
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": description,
        "schema": terms,
    }


def _properties(kind: type[msgspec.Struct]) -> dict[str, dict[str, Any]]:
    """Schema of each field, by name."""
    properties: dict[str, dict[str, Any]] = msgspec.json.schema_components([kind])[1][kind.__name__][
        "properties"
    ]
    return properties


# the reference page


def reference() -> str:
    """``docs/reference/endpoints.md``."""
    parts = [_INTRODUCTION]
    for one in ENDPOINTS:
        lines = [f"## {one.method} {one.path}", "", one.summary, "", f"Access: {_ACCESS[one.access]}."]
        if one.description:
            lines += ["", one.description]
        rows = [
            _row(p["name"], p["in"], {**p["schema"], "description": p["description"]})
            for p in _parameters(one)
        ]
        if one.body is not None:
            rows += [_row(name, "JSON body", terms) for name, terms in _properties(one.body).items()]
        if rows:
            lines += ["", "| parameter | in | type | meaning |", "|---|---|---|---|", *rows]
        if one.errors:
            errors = "; ".join(f"{status} {words}" for status, words in one.errors.items())
            lines += ["", f"Errors: {errors}."]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _row(name: str, where: str, terms: dict[str, Any]) -> str:
    kinds = [terms] if "type" in terms else terms["anyOf"]
    kind = next(one["type"] for one in kinds if one["type"] != "null")
    default = terms.get("default")
    words = terms["description"] + (f" Default: {default}." if type(default) is int else "")
    return f"| `{name}` | {where} | {kind} | {words} |"


_INTRODUCTION = """\
# Endpoints

hotseat's own endpoints; `GET /openapi.json` describes them for programs. Requests to models go to
`/ROUTE/v1/…` and `/v1/…`, in the formats of OpenAI and Anthropic.

Send a key as `Authorization: Bearer KEY` or `x-api-key: KEY`. While no key is configured, all endpoints are
open and hotseat listens on loopback only. Requests that change something are POST with JSON; they are refused
when they come from a web page of another site. Errors have OpenAI's format:
`{"error": {"message", "type", "param", "code"}}`.
"""
