"""Scrape ``/metrics`` of the models' own servers and join the results."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Mapping

from hotseat.core.spec import ModelSpec
from hotseat.core.views import Upstream
from hotseat.telemetry.metrics import join

TIMEOUT_S = 5.0
MAX_BYTES = 4 * 1024 * 1024
"""Longest exposition of one server that is taken."""


async def gather(models: Mapping[str, tuple[ModelSpec, Upstream | None]]) -> str:
    """The metrics of all models in one text. ``None`` is the address of a server that is not ready."""
    texts = await asyncio.gather(*(_scrape(model, upstream) for model, upstream in models.values()))
    return await asyncio.to_thread(join, dict(zip(models, texts, strict=True)))


async def _scrape(model: ModelSpec, upstream: Upstream | None) -> str | None:
    if upstream is None or (upstream.impostor is not None and upstream.impostor() is not None):
        return None
    headers = {"Accept": "text/plain"}
    if model.upstream_key:
        headers["Authorization"] = f"Bearer {model.upstream_key}"
    try:
        async with asyncio.timeout(TIMEOUT_S + 1):
            return await asyncio.to_thread(_get, upstream, headers)
    except (OSError, http.client.HTTPException, ValueError):  # a TimeoutError is an OSError
        return None


def _get(upstream: Upstream, headers: Mapping[str, str]) -> str | None:
    deadline = time.monotonic() + TIMEOUT_S
    connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", f"{upstream.base_path}/metrics", headers=dict(headers))
        response = connection.getresponse()
        if response.status != 200:
            return None
        chunks, size = [], 0
        while chunk := response.read1(65536):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BYTES or time.monotonic() > deadline:
                return None
        return b"".join(chunks).decode("utf-8", "replace")
    finally:
        connection.close()
