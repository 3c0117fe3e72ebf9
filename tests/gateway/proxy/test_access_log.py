"""The access log: which records get a line, and when lines are written."""

from __future__ import annotations

import json

import pytest

from hotseat.gateway.proxy.access_log import AccessLog, RequestRecord

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
