"""The access log: which records get a line, and when lines are written."""

from __future__ import annotations

import json

import pytest

from hotseat.gateway.proxy.access_log import STRANGERS_LINES_PER_S, AccessLog, RequestRecord

pytestmark = pytest.mark.anyio


async def test_lines_are_written_together() -> None:
    written: list[bytes] = []
    seen: list[RequestRecord] = []
    access_log = AccessLog(written.append, lambda: 1_700_000_000.25, seen.append)
    access_log.enter(RequestRecord(id="a", status=200), logged=True)
    access_log.enter(RequestRecord(id="b", status=500), logged=False)
    access_log.enter(RequestRecord(id="c", status=404, tokens_in=3), logged=True)
    assert written == []
    access_log.flush()
    access_log.flush()
    assert len(written) == 1
    first, second = map(json.loads, written[0].splitlines())
    assert (first["id"], first["time"], first["event"]) == ("a", "2023-11-14T22:13:20.250Z", "request")
    assert (second["status"], second["tokens_in"]) == (404, 3)
    assert [record.status for record in seen] == [200, 500, 404]


async def test_strangers_do_not_fill_the_log() -> None:
    written: list[bytes] = []
    seen: list[RequestRecord] = []
    access_log = AccessLog(written.append, lambda: 1_700_000_000.25, seen.append)
    for _ in range(1000):
        access_log.enter(RequestRecord(status=401, code="missing_api_key"), logged=True)
    access_log.enter(RequestRecord(status=401, code="model_not_allowed", key="ann"), logged=True)
    access_log.enter(RequestRecord(status=200), logged=True)
    access_log.flush()
    lines = [json.loads(line) for line in b"".join(written).splitlines()]
    assert [line["event"] for line in lines].count("request") == STRANGERS_LINES_PER_S + 2
    assert [line["count"] for line in lines if line["event"] == "requests not logged"] == [
        1000 - STRANGERS_LINES_PER_S
    ]
    assert len(seen) == 1002
