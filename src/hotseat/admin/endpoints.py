"""Our own endpoints, described once: the routes, ``/openapi.json`` and the reference page come from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hotseat import __version__

Who = Literal["all", "key", "admin"]
"""Who may ask, where keys are configured: anybody, who has any key, or who has an admin's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One of the path or the query."""

    name: str
    kind: Literal["string", "integer", "boolean"]
    where: Literal["path", "query", "header"] = "query"
    help: str
    default: str | int | None = None
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path."""

    method: Literal["GET", "POST"]
    path: str
    who: Who
    summary: str
    about: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: tuple[Parameter, ...] = ()
    """Fields of the JSON object that it takes."""
    answer: str = "application/json"
    """Media type of a good answer."""
    also: str = ""
    """Another one that it may have."""
    told: Mapping[str, str] = field(default_factory=dict)
    """Fields of the JSON object that it answers, and their types; with ``?`` those that may be left out."""
    unlike_errors: frozenset[int] = frozenset()
    """Of ``errors``, those that answer that object too."""
    errors: dict[int, str] = field(default_factory=dict)


_ROUTE = Parameter(name="route", kind="string", help="A route's or a model's name.")
_WAIT = Parameter(name="wait", kind="boolean", help="Answer only when it is done.")
_SLEEP = Parameter(name="sleep", kind="boolean", help="Put it to sleep instead.")
_ORDER_ERRORS = {
    400: "the body is not what it should be",
    404: "no such route or model",
    413: "more than 64 KiB",
    415: "not sent as JSON",
}

_MODEL = {"model": "string", "state": "string", "in_flight": "integer", "waiting": "integer"}

ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/health",
        who="all",
        summary="Whether hotseat itself is up.",
        about="Always 200 with `status: ok` while it answers at all; models do not matter.",
        told={"status": "string"},
    ),
    Endpoint(
        method="GET",
        path="/healthz",
        who="all",
        summary="Whether hotseat can work, and with a key also the routes and their states.",
        about="503 while a runtime that is needed (Docker) cannot be used. A stranger learns no more than "
        "`status`; a key of models sees `routes` and `budget`; an admin also the lines that a failed "
        "model wrote last.",
        errors={503: "a runtime cannot be used"},
        told={"status": "string", "routes?": "object", "budget?": "object", "runtimes?": "object"},
        unlike_errors=frozenset({503}),
    ),
    Endpoint(
        method="GET",
        path="/routes",
        who="admin",
        summary="The routes: path, model, runtime, state.",
        told={"routes": "object"},
    ),
    Endpoint(
        method="GET",
        path="/stats",
        who="admin",
        summary="How every model stands, the budget, the GPUs, and the latest failures and swaps.",
        about="For each model: state, phase, `eta_s`, `last_move`, requests in flight and waiting, tokens, "
        "`minutes` (the last hour by minute), durations of starts, last hit, and why it failed last.",
        told={
            "models": "object",
            "budget": "object",
            "gpus": "array",
            "failures": "array",
            "swaps": "array",
            "unusable_runtimes": "object",
            "since": "string",
        },
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        who="admin",
        summary="Metrics in the Prometheus text format.",
        about="See [Metrics](metrics.md).",
        answer="text/plain",
    ),
    Endpoint(
        method="GET",
        path="/metrics/models",
        who="admin",
        summary="The ready models' own metrics, each series with its `model`.",
        answer="text/plain",
    ),
    Endpoint(
        method="GET",
        path="/events",
        who="admin",
        summary="What happens, as it happens (server-sent events).",
        about="Events are `move`, `phase`, `swap` and `failure`, each with a JSON object. The latest 512 are "
        "kept: with `Last-Event-ID` (or `after`) those since then come first. A reader that is too slow "
        "loses the oldest and gets `dropped` with their `count`. At most 64 readers.",
        parameters=(
            Parameter(
                name="Last-Event-ID",
                kind="string",
                where="header",
                help="The id of the last event that was seen.",
            ),
            Parameter(name="after", kind="string", help="The same, where a header cannot be set."),
        ),
        answer="text/event-stream",
        errors={503: "too many readers"},
    ),
    Endpoint(
        method="GET",
        path="/logs/{model}",
        who="admin",
        summary="What a model's server wrote last, and with `follow` what it writes.",
        about="Without `follow` a JSON object with `lines`. With it lines of plain text, through all runs "
        "to come; a slow reader is served from where it is, as long as the log still holds that (where it "
        "does not, a line says so).",
        parameters=(
            Parameter(name="model", kind="string", where="path", help="A model's or a route's name."),
            Parameter(
                name="lines",
                kind="integer",
                help="How many of the past, 1 to 10000.",
                default=100,
                least=1,
                most=10_000,
            ),
            Parameter(name="follow", kind="boolean", help="Go on (1)."),
        ),
        also="text/plain",
        told={"model": "string", "lines": "array"},
        errors={400: "lines or follow is not what it should be", 404: "no such route or model"},
    ),
    Endpoint(
        method="GET",
        path="/admin/launch/{model}",
        who="admin",
        summary="What a model's server is run as, and on what machine.",
        about="What a benchmark has to note: runtime, image, command (less the values of flags that speak of "
        "keys, tokens and passwords), processor, memory, GPUs, and hotseat's version.",
        parameters=(
            Parameter(name="model", kind="string", where="path", help="A model's or a route's name."),
        ),
        told={
            "model": "string",
            "runtime": "string",
            "target": "string",
            "footprint": "object",
            "machine": "object",
            "hotseat": "string",
        },
        errors={404: "no such route or model"},
    ),
    Endpoint(
        method="GET",
        path="/openapi.json",
        who="key",
        summary="This page for machines (OpenAPI 3.1).",
        told={"openapi": "string", "info": "object", "paths": "object", "components": "object"},
    ),
    Endpoint(
        method="POST",
        path="/admin/start",
        who="admin",
        summary="Start a model now, backoff or not.",
        about="The answer is the model as in `/stats`. With `wait` it comes when the model is ready, or "
        "says why it is not.",
        body=(_ROUTE, _WAIT),
        told=_MODEL,
        errors={**_ORDER_ERRORS, 503: "with wait: it did not start"},
    ),
    Endpoint(
        method="POST",
        path="/admin/stop",
        who="admin",
        summary="Let running answers finish, then stop a model.",
        about="The answer is the model as in `/stats`.",
        body=(_ROUTE, _WAIT, _SLEEP),
        told=_MODEL,
        errors=_ORDER_ERRORS,
    ),
    Endpoint(
        method="POST",
        path="/admin/reload",
        who="admin",
        summary="Read the configuration again and apply it.",
        about="Says what has changed. Where the configuration is not right, nothing changes and `problems` "
        "lists what is wrong.",
        told={
            "status": "string",
            "added": "array",
            "removed": "array",
            "changed": "array",
            "needs_restart": "array",
        },
        errors={
            400: "the configuration (or the body) is not right",
            413: "more than 64 KiB",
            415: "not sent as JSON",
        },
    ),
    Endpoint(
        method="POST",
        path="/admin/capture",
        who="admin",
        summary="Write a model's prompts and answers to a file, for a bounded time.",
        about="For debugging, and off unless ordered. The file is `captures/MODEL.jsonl` below `state_dir`, "
        "for the launcher's user alone; a new capture replaces it. At most an hour, 64 MiB in all and 1 MiB "
        "of each text; a restart ends it. No header is written, and credentials in the texts become `***`. "
        "While it is on, the log and `/routes` (`capture`) say so. Answers `capturing`, `file`, `until`, "
        "`requests` and `bytes`.",
        body=(
            _ROUTE,
            Parameter(
                name="seconds",
                kind="integer",
                help="From now, 1 to 3600; 0 ends it. One that is on goes on.",
                default=60,
                least=0,
                most=3600,
            ),
        ),
        told={
            "model": "string",
            "capturing": "boolean",
            "file?": "string",
            "until?": "string",
            "requests?": "integer",
            "bytes?": "integer",
        },
        errors={**_ORDER_ERRORS, 500: "the file cannot be made"},
    ),
)

_WHO: dict[Who, str] = {"all": "anybody", "key": "any key", "admin": "an admin key"}


def openapi() -> dict[str, Any]:
    """``/openapi.json``."""
    paths: dict[str, dict[str, Any]] = {}
    for one in ENDPOINTS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hotseat",
            "version": __version__,
            "description": "hotseat's own endpoints. Those of the models are below /ROUTE/v1 and /v1.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": {"Error": _ERROR},
        },
    }


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}


def _operation(one: Endpoint) -> dict[str, Any]:
    errors = dict(one.errors)
    if one.who != "all":
        errors |= {401: "no key, or one that is not known", 403: "this key does not open it"}
    made: dict[str, Any] = {
        "summary": one.summary,
        "operationId": one.method.lower() + "".join(c if c.isalnum() else "_" for c in one.path),
        "security": [] if one.who == "all" else [{"key": []}, {"x-api-key": []}],
        "responses": {
            "200": _answer("done", one),
            **{
                str(status): _answer(words, one) if status in one.unlike_errors else _error(words)
                for status, words in sorted(errors.items())
            },
        },
    }
    if one.about:
        made["description"] = one.about
    if one.parameters:
        made["parameters"] = [
            {
                "name": parameter.name,
                "in": parameter.where,
                "required": parameter.where == "path",
                "description": parameter.help,
                "schema": _schema(parameter),
            }
            for parameter in one.parameters
        ]
    if one.method == "POST":
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _object(one.body)}},
        }
    return made


def _answer(words: str, one: Endpoint) -> dict[str, Any]:
    content: dict[str, Any] = {one.answer: {}}
    if one.told:
        content[one.answer]["schema"] = {
            "type": "object",
            "required": [name for name in one.told if not name.endswith("?")],
            "properties": {name.rstrip("?"): {"type": kind} for name, kind in one.told.items()},
        }
    if one.also:
        content[one.also] = {}
    return {"description": words, "content": content}


def _error(words: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _schema(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.kind}
    if parameter.default is not None:
        schema["default"] = parameter.default
    schema |= {"minimum": parameter.least} if parameter.least is not None else {}
    schema |= {"maximum": parameter.most} if parameter.most is not None else {}
    return schema


def _object(fields: tuple[Parameter, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [one.name for one in fields if one.kind == "string"],
        "properties": {one.name: {**_schema(one), "description": one.help} for one in fields},
    }


def reference() -> str:
    """``docs/reference/endpoints.md``."""
    parts = [_INTRODUCTION]
    for one in ENDPOINTS:
        lines = [f"## {one.method} {one.path}", "", one.summary, f"For {_WHO[one.who]}."]
        if one.about:
            lines += ["", one.about]
        given = [("" if p.where == "query" else f" ({p.where})", p) for p in one.parameters]
        given += [(" (JSON)", p) for p in one.body]
        if given:
            lines += ["", "| given | type | what it says |", "|---|---|---|"]
            lines += [f"| `{p.name}`{where} | {p.kind} | {p.help}{_default(p)} |" for where, p in given]
        if one.errors:
            lines += ["", "Errors: " + "; ".join(f"{n} {words}" for n, words in one.errors.items()) + "."]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _default(parameter: Parameter) -> str:
    return "" if parameter.default is None else f" Default: {parameter.default}."


_INTRODUCTION = """\
# Endpoints

hotseat's own; `GET /openapi.json` is the same for machines. Models are asked below `/ROUTE/v1/…` and `/v1/…`,
in the shapes of OpenAI and Anthropic.

Keys are sent as `Authorization: Bearer KEY` or `x-api-key`. Where no key is configured, everything is open
(and hotseat listens on loopback only). Orders are POST with JSON and are not taken from web pages of other
sites. Errors have OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.
"""
