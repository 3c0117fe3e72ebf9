"""What the models' own servers say of themselves: their ``/metrics``, asked for now and joined."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Mapping

from hotseat.core.spec import ModelSpec
from hotseat.core.views import Upstream
from hotseat.telemetry.metrics import join

WITHIN_S = 5.0
MOST_BYTES = 8 * 1024 * 1024


async def gather(models: Mapping[str, tuple[ModelSpec, Upstream | None]]) -> str:
    """The metrics of all models whose server is ready (has an address) in one text."""
    texts = await asyncio.gather(*(_ask(model, upstream) for model, upstream in models.values()))
    told = dict(zip(models, texts, strict=True))
    return await asyncio.to_thread(join, told)


async def _ask(model: ModelSpec, upstream: Upstream | None) -> str | None:
    if upstream is None:
        return None
    headers = {"Accept": "text/plain"}
    if model.upstream_key:
        headers["Authorization"] = f"Bearer {model.upstream_key}"
    try:
        async with asyncio.timeout(WITHIN_S + 1):
            return await asyncio.to_thread(_get, upstream, headers)
    except (OSError, http.client.HTTPException, ValueError):  # a TimeoutError is an OSError
        return None


def _get(upstream: Upstream, headers: Mapping[str, str]) -> str | None:
    deadline = time.monotonic() + WITHIN_S
    connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=WITHIN_S)
    try:
        connection.request("GET", f"{upstream.base_path}/metrics", headers=dict(headers))
        response = connection.getresponse()
        if response.status != 200:
            return None
        pieces, size = [], 0
        while piece := response.read1(65536):
            pieces.append(piece)
            size += len(piece)
            if size > MOST_BYTES or time.monotonic() > deadline:
                return None
        return b"".join(pieces).decode("utf-8", "replace")
    finally:
        connection.close()
