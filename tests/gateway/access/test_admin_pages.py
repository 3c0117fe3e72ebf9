"""Our own pages of a running hotseat: what they take, and that ``/openapi.json`` tells the truth of them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from fakes.hotseat import Answer, Hotseat, serving
from hotseat.admin.schema import REQUEST_BYTES

ADMIN = {"Authorization": "Bearer sk-admin-0123456789"}
CLIENT = {"Authorization": "Bearer sk-client-0123456789"}
ORDERS = ("/admin/start", "/admin/stop", "/admin/reload", "/admin/capture")
JSON = b"Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def hotseat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotseat]:
    env = {"VLLM_API_KEY": "sk-client-0123456789", "ADMIN_API_KEY": "sk-admin-0123456789"}
    models = {"chat": [], "broken": ["--start-fails"]}
    yield from serving(Hotseat(tmp_path_factory.mktemp("hotseat"), models, env=env))


def raw(hotseat: Hotseat, head: bytes, *body: bytes) -> tuple[int, bytes]:
    """Send an admin's request as it is written: the status, and the body of the answer."""
    with socket.create_connection(("127.0.0.1", hotseat.port), timeout=hotseat.limit_s) as sock:
        line, _, fields = head.partition(b"\r\n")
        key = ADMIN["Authorization"].encode()
        always = b" HTTP/1.1\r\nHost: localhost\r\nAuthorization: %b\r\nConnection: close\r\n" % key
        sock.sendall(line + always + fields + b"\r\n")
        for piece in body:
            sock.sendall(piece)
        told = b""
        while piece := sock.recv(65536):
            told += piece
    return int(told.split(b" ", 2)[1]), told.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("path", ORDERS)
@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        (b"", b'{"route":"chat"}', 415),
        (b"Content-Type: text/plain\r\n", b'{"route":"chat"}', 415),
        (JSON + b"Content-Encoding: gzip\r\n", b'{"route":"chat"}', 415),
        (JSON, b"{", 400),
        (JSON, b"[]", 400),
        (JSON, b'"chat"', 400),
        (JSON, b"[" * 50_000, 400),
        (JSON, b'{"route":1' + b"0" * 5_000 + b"}", 400),
        (JSON, '{"route":"chat"}'.encode("utf-16"), 400),
        (JSON, b'{"route":"\xff"}', 400),
        (JSON, b'{"route":"chat","route":"chat"}', 400),
        (JSON, b'{"route":"chat","mode":"x"}', 400),
        (JSON, b'{"route":"' + b"x" * REQUEST_BYTES + b'"}', 413),
    ],
)
def test_orders_that_are_none(hotseat: Hotseat, path: str, fields: bytes, body: bytes, status: int) -> None:
    head = b"POST %b\r\n%bContent-Length: %d\r\n" % (path.encode(), fields, len(body))
    told, answer = raw(hotseat, head, body)
    assert told == status
    assert json.loads(answer)["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/admin/start", {}, 400),
        ("/admin/start", {"route": 5}, 400),
        ("/admin/start", {"route": "nobody"}, 404),
        ("/admin/start", {"route": "chat", "wait": "yes"}, 400),
        ("/admin/start", {"route": "broken", "wait": True}, 503),
        ("/admin/reload", {"route": "chat"}, 400),
        ("/admin/capture", {"route": "chat", "seconds": -1}, 400),
        ("/admin/capture", {"route": "chat", "seconds": 3601}, 400),
        ("/admin/capture", {"route": "chat", "seconds": 1.5}, 400),
        ("/admin/capture", {"route": "nobody", "seconds": 2.0}, 404),
        ("/admin/capture", {"route": "chat", "seconds": True}, 400),
        ("/admin/capture", {"route": "chat", "seconds": "60"}, 400),
        ("/admin/capture", {"route": "nobody", "seconds": 60}, 404),
    ],
)
def test_orders_that_cannot_be_carried_out(hotseat: Hotseat, path: str, body: Any, status: int) -> None:
    answer = hotseat.send("POST", path, body, **ADMIN)
    assert (answer.status, bool(answer.error["message"])) == (status, True)


def test_what_is_kept_of_an_order_is_bounded(hotseat: Hotseat) -> None:
    chunks = b"".join(b"ffff\r\n%b\r\n" % (b" " * 0xFFFF) for _ in range(3))
    status, answer = raw(hotseat, b"POST /admin/stop\r\n" + JSON + b"Transfer-Encoding: chunked\r\n", chunks)
    assert (status, json.loads(answer)["error"]["code"]) == (413, "body_too_large")


def test_a_path_has_one_spelling(hotseat: Hotseat) -> None:
    for path in ("/stats/", "/stats//", "/Stats", "/admin/", "/admin/start/", "/logs/chat/", "/logs/"):
        answer = hotseat.send("GET", path, **ADMIN)
        assert (path, answer.status, "location" in answer.headers) == (path, 404, False)
        assert answer.error["message"].startswith(("no such", "no route or model", "there is no such page"))


# what /openapi.json says


@pytest.fixture(scope="module")
def told(hotseat: Hotseat) -> dict[str, Any]:
    page = hotseat.send("GET", "/openapi.json", **CLIENT).json
    assert isinstance(page, dict)
    return page


def test_it_is_openapi(told: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(told).validate()


def conforms(told: dict[str, Any], method: str, path: str, answer: Answer) -> None:
    """The status is told, and the answer is what is told of it."""
    operation = told["paths"][path][method.lower()]
    assert str(answer.status) in operation["responses"], (method, path, answer)
    content = operation["responses"][str(answer.status)]["content"]
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in content, (method, path, kind)
    schema = content[kind].get("schema")
    if kind == "application/json":
        assert schema is not None, (method, path)
        Draft202012Validator({**schema, "components": told["components"]}).validate(answer.json)


def test_every_answer_is_as_it_is_told(hotseat: Hotseat, told: dict[str, Any]) -> None:
    bodies: dict[str, list[Any]] = {
        "/admin/start": [
            {"route": "chat", "wait": True},
            {"route": "broken", "wait": True},
            {"route": "x"},
            {},
        ],
        "/admin/stop": [{"route": "chat"}, {"route": "x"}, [], "x" * REQUEST_BYTES],
        "/admin/reload": [{}, {"x": 1}],
        "/admin/capture": [
            {"route": "chat", "seconds": 5},
            {"route": "chat", "seconds": 0},
            {"route": "x"},
            None,
        ],
    }
    asked = set()
    for path, item in told["paths"].items():
        for method in item:
            if path == "/events":
                continue  # has no end; test_streams asks it
            for key in (ADMIN, CLIENT, {}):
                for body in bodies.get(path, [None]):
                    url = path.replace("{model}", "chat")
                    answer = hotseat.send(method.upper(), url, body, **key)
                    conforms(told, method, path, answer)
                    asked.add((path, answer.status))
    for path, query in (("/logs/chat", "?lines=0"), ("/logs/chat", "?follow=x"), ("/logs/x", "")):
        conforms(told, "GET", "/logs/{model}", hotseat.send("GET", path + query, **ADMIN))
    conforms(
        told, "POST", "/admin/stop", hotseat.send("POST", "/admin/stop", {}, **{**ADMIN, "Content-Type": "x"})
    )
    assert {(path, 200) for path in told["paths"] if path != "/events"} <= asked
    guarded = {path for path, item in told["paths"].items() if next(iter(item.values()))["security"]}
    assert {(path, 401) for path in guarded - {"/events"}} <= asked
