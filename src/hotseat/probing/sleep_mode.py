"""vLLM's sleep mode: how a run is put to sleep, what it still takes then, and how it is woken.

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
from hotseat.probing.gpu import GpuReader, GpuReading
from hotseat.runtimes.base import Handle

CALL_TIMEOUT_S = 120.0
"""Level 2 reads the weights again within one call."""
ASK_TIMEOUT_S = 5.0
FREED_AT_LEAST = 0.5
"""A run that frees less of its footprint than this is not worth its sleep."""

Call = Callable[[Handle, str, Any, Mapping[str, str]], int]
"""POST a path with a JSON body (or none) to a run; returns the HTTP status. Raises ``OSError``."""


class SleepError(Exception):
    """The run would not sleep, or not wake."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.summary)
        self.reason = reason


def post(handle: Handle, path: str, body: Any, headers: Mapping[str, str]) -> int:
    """POST over a connection of its own (these calls are rare); blocks, so it is run in a thread."""
    connection = http.client.HTTPConnection(handle.host, handle.port, timeout=CALL_TIMEOUT_S)
    try:
        payload = None if body is None else json.dumps(body)
        head = {"Content-Type": "application/json", **headers} if body is not None else dict(headers)
        connection.request("POST", handle.base_path + path, payload, head)
        response = connection.getresponse()
        response.read()
        return response.status
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {type(error).__name__}") from error
    finally:
        connection.close()


def is_sleeping(handle: Handle) -> bool:
    """Whether a run says that it sleeps; one that cannot be asked does not. Blocks."""
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
        """With ``gpus``, what a sleeping run still takes is measured."""
        self._gpus, self._call, self._asleep = gpus, call, asleep or is_sleeping

    async def sleep(self, model: ModelSpec, handle: Handle) -> dict[str, int] | None:
        """Put it to sleep; returns the GPU memory it still takes (ppm by device), where it is measured.

        Raises ``SleepError`` when it refuses, does not answer, or frees too little.
        """
        assert model.scheduling.sleep is not None
        before = self._gpus.read() if self._gpus else {}
        await self._ask(model, handle, f"/sleep?level={model.scheduling.sleep.level}&mode=wait")
        after = self._gpus.read() if self._gpus else {}
        return _leftover(model, before, after) if before and after else None

    async def wake(self, model: ModelSpec, handle: Handle) -> None:
        """Wake it and send one token through it; returns when that has come. Raises ``SleepError``."""
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
        """Whether it says that it sleeps (an earlier hotseat may have left it so)."""
        return await asyncio.to_thread(self._asleep, handle)

    async def _warm_up(self, model: ModelSpec, handle: Handle) -> None:
        """The first answer after a wake is several times slower: let it be one that nobody waits for.

        A server that does not complete text says so with a 4xx, which is an answer too.
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
        try:
            return await asyncio.to_thread(self._call, handle, path, body, headers)
        except OSError as error:
            what = str(error) or type(error).__name__
            raise SleepError(Reason(summary=f"{path.partition('?')[0]} failed: {what}")) from error


def _leftover(
    model: ModelSpec, before: Mapping[str, GpuReading], after: Mapping[str, GpuReading]
) -> dict[str, int]:
    """What it still takes: its footprint less what came back. Raises ``SleepError`` when that is too much."""
    leftover = {}
    for device, share in model.scheduling.footprint.items():
        if device not in before or device not in after:
            continue
        freed_mib = after[device].free_mib - before[device].free_mib
        freed = freed_mib * PPM // max(1, after[device].total_mib)
        if freed < FREED_AT_LEAST * share:
            raise SleepError(Reason(summary=f"asleep it freed {freed_mib} MiB of GPU {device} only"))
        leftover[device] = max(0, share - freed)
    return leftover
