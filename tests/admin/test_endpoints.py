"""The description of our endpoints, and that it is true."""

from __future__ import annotations

import re

from hotseat.admin.endpoints import ENDPOINTS
from hotseat.admin.openapi import openapi, reference
from hotseat.admin.stats import without_secrets
from hotseat.gateway.access.admin import ANY_KEY_PATHS, PUBLIC_PATHS


def test_who_may_ask_is_what_the_gateway_enforces() -> None:
    told = {one.path: one.access for one in ENDPOINTS}
    assert {path for path, who in told.items() if who == "all"} == {path.decode() for path in PUBLIC_PATHS}
    assert {path for path, who in told.items() if who == "key"} == {path.decode() for path in ANY_KEY_PATHS}


def test_openapi_has_every_endpoint_and_refers_to_nothing_that_is_missing() -> None:
    told = openapi()
    operations = [(path, method) for path, item in told["paths"].items() for method in item]
    assert operations == [(one.path, one.method.lower()) for one in ENDPOINTS]
    ids = [item["operationId"] for path in told["paths"].values() for item in path.values()]
    assert len(set(ids)) == len(ids)
    for one in ENDPOINTS:
        operation = told["paths"][one.path][one.method.lower()]
        in_path = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", one.path))
        assert ("401" in operation["responses"]) == (one.access != "all")
    assert set(re.findall(r"#/components/schemas/(\w+)", str(told))) == set(told["components"]["schemas"])


def test_orders_say_what_they_take() -> None:
    document = openapi()
    operation = document["paths"]["/admin/start"]["post"]
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    assert schema["required"] == ["route"]
    assert schema["additionalProperties"] is False


def test_the_page_has_every_endpoint() -> None:
    page = reference()
    assert all(f"## {one.method} {one.path}\n" in page for one in ENDPOINTS)


def test_a_command_is_told_without_its_secrets() -> None:
    words = [
        "serve",
        "--api-key",
        "s1",
        "--hf-token=s2",
        "--tokens",
        "20",
        "--db.password",
        "s3",
        "API_KEY=s4",
        "key",
    ]
    assert without_secrets(words) == [
        "serve", "--api-key", "***", "--hf-token=***", "--tokens", "20", "--db.password", "***",
        "API_KEY=***", "key",
    ]  # fmt: skip
    assert without_secrets(["--api-key", "--port", "1"]) == ["--api-key", "--port", "1"]
