"""vLLM's sleep mode: puts a run to sleep, measures what it still takes, and wakes it.

Needs ``--enable-sleep-mode`` and ``VLLM_SERVER_DEV_MODE=1`` in the server. Source of the calls: vLLM's
documentation of sleep mode; ``mode=wait`` lets running requests end, the default would abort them.
"""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Callable, Mapping
from typing import Any

from hotseat.core.errors import Reason
from hotseat.core.spec import PPM, ModelSpec
from hotseat.probing.gpu import GpuReader, GpuReading, reading_of
from hotseat.runtimes.base import Handle

MAX_ANSWER_BYTES = 65536
"""What is read of a server's answer."""
CALL_TIMEOUT_S = 120.0
"""Seconds; at level 2 the weights are read again within one call."""
ASK_TIMEOUT_S = 5.0
FREED_AT_LEAST = 0.5
"""The share of its footprint that a run must free, or else sleep has failed."""

Call = Callable[[Handle, str, Any, Mapping[str, str]], int]
"""A function that POSTs a path with a JSON body (or none) to a run and returns the HTTP status.

Raises ``OSError``.
"""


class SleepError(Exception):
    """Raised when a run could not be put to sleep or woken."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.summary)
        self.reason = reason


def post(handle: Handle, path: str, body: Any, headers: Mapping[str, str]) -> int:
    """POST over a new connection and return the HTTP status; blocks, so it is run in a thread.

    Raises ``OSError``.
    """
    connection = http.client.HTTPConnection(handle.host, handle.port, timeout=CALL_TIMEOUT_S)
    try:
        payload = None if body is None else json.dumps(body)
        head = {"Content-Type": "application/json", **headers} if body is not None else dict(headers)
        connection.request("POST", handle.base_path + path, payload, head)
        response = connection.getresponse()
        response.read(MAX_ANSWER_BYTES)
        return response.status
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {type(error).__name__}") from error
    finally:
        connection.close()


def is_sleeping(handle: Handle) -> bool:
    """Whether a run reports that it is asleep; false where it does not answer. Blocks."""
    connection = http.client.HTTPConnection(handle.host, handle.port, timeout=ASK_TIMEOUT_S)
    try:
        connection.request("GET", f"{handle.base_path}/is_sleeping")
        response = connection.getresponse()
        said = json.loads(response.read(1000)) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(said, dict) and said.get("is_sleeping") is True


class SleepMode:
    """Puts vLLM runs to sleep and wakes them."""

    def __init__(
        self, gpus: GpuReader | None, call: Call = post, asleep: Callable[[Handle], bool] | None = None
    ) -> None:
        """With ``gpus``, the memory that a sleeping run still takes is measured."""
        self._gpus, self._call, self._asleep = gpus, call, asleep or is_sleeping

    async def sleep(self, model: ModelSpec, handle: Handle) -> dict[str, int] | None:
        """Put a run to sleep; return the GPU memory it still takes (ppm by device); ``None``: not measured.

        Raises ``SleepError`` when it refuses, does not answer, or frees too little.
        """
        assert model.scheduling.sleep is not None
        before = self._gpus.read() if self._gpus else {}
        await self._ask(model, handle, f"/sleep?level={model.scheduling.sleep.level}&mode=wait")
        after = self._gpus.read() if self._gpus else {}
        return _leftover(model, before, after) if before and after else None

    async def wake(self, model: ModelSpec, handle: Handle) -> None:
        """Wake a run and have it generate one token. Raises ``SleepError``."""
        assert model.scheduling.sleep is not None
        if model.scheduling.sleep.level == 1:
            await self._ask(model, handle, "/wake_up")
        else:
            await self._ask(model, handle, "/wake_up?tags=weights")
            await self._ask(model, handle, "/collective_rpc", {"method": "reload_weights"})
            await self._ask(model, handle, "/wake_up?tags=kv_cache")
            await self._ask(model, handle, "/reset_prefix_cache")
        await self._warm_up(model, handle)

    async def asleep(self, handle: Handle) -> bool:
        """Whether a run reports that it is asleep (an earlier hotseat may have left it so)."""
        return await asyncio.to_thread(self._asleep, handle)

    async def _warm_up(self, model: ModelSpec, handle: Handle) -> None:
        """Send a first request, so that no client waits for it: it takes several times as long as others.

        A 4xx counts as an answer too: the server may not offer completions.
        """
        name = model.served_names[0] if model.served_names else model.name
        body = {"model": name, "prompt": "1", "max_tokens": 1, "temperature": 0}
        headers = {"Authorization": f"Bearer {model.upstream_key}"} if model.upstream_key else {}
        status = await self._send(handle, "/v1/completions", body, headers)
        if status >= 500:
            raise SleepError(Reason(summary=f"the first answer after waking was HTTP {status}"))

    async def _ask(self, model: ModelSpec, handle: Handle, path: str, body: Any = None) -> None:
        status = await self._send(handle, path, body, {})
        if status != 200:
            hint = None
            if status == 404:
                hint = "start the server with --enable-sleep-mode and VLLM_SERVER_DEV_MODE=1"
            raise SleepError(Reason(summary=f"{path.partition('?')[0]} answered HTTP {status}", hint=hint))

    async def _send(self, handle: Handle, path: str, body: Any, headers: Mapping[str, str]) -> int:
        if handle.listener is not None and (who := handle.listener.impostor(handle.host)) is not None:
            raise SleepError(Reason(summary=who))
        try:
            return await asyncio.to_thread(self._call, handle, path, body, headers)
        except OSError as error:
            what = str(error) or type(error).__name__
            raise SleepError(Reason(summary=f"{path.partition('?')[0]} failed: {what}")) from error


def _leftover(
    model: ModelSpec, before: Mapping[str, GpuReading], after: Mapping[str, GpuReading]
) -> dict[str, int]:
    """Return the footprint less the freed memory. Raises ``SleepError`` when too little was freed."""
    leftover = {}
    for device, share in model.scheduling.footprint.items():
        first, last = reading_of(before, device), reading_of(after, device)
        if first is None or last is None:
            continue
        freed_mib = last.free_mib - first.free_mib
        freed = freed_mib * PPM // max(1, last.total_mib)
        if freed < FREED_AT_LEAST * share:
            raise SleepError(Reason(summary=f"sleep freed only {freed_mib} MiB of GPU {device}"))
        leftover[device] = max(0, share - freed)
    return leftover
