"""Asks a model's server whether it is ready or still healthy, as its configuration says."""

from __future__ import annotations

import asyncio

from hotseat.core.spec import ModelSpec
from hotseat.probing.readiness import ProbeAnswer, probe_once, until_ready
from hotseat.runtimes.base import Handle

PERIODS_PER_TIMEOUT = 2.0
"""Time-out of a health check, in health check periods: a server that is busy with a long prompt or many
streams answers late."""
MIN_TIMEOUT_S = 1.0
DEFAULT_TIMEOUT_S = 10.0
"""Time-out of a health check if there are no periodic ones, in seconds."""


async def wait_until_ready(model: ModelSpec, handle: Handle, poke: asyncio.Event) -> str:
    """Probe the server until it is ready, and return where it is; setting ``poke`` has it probed at once."""
    path = handle.base_path + model.health_path
    return await until_ready(
        handle.host, handle.port, path, poke, headers=_credentials(model), listener=handle.listener
    )


async def check_health(model: ModelSpec, handle: Handle) -> str | None:
    """Probe a ready server once; why it is unhealthy, or ``None`` if it is healthy."""
    path = handle.base_path + model.health_path
    period_s = model.health_every_s
    timeout_s = DEFAULT_TIMEOUT_S if period_s is None else max(PERIODS_PER_TIMEOUT * period_s, MIN_TIMEOUT_S)
    result = await probe_once(
        handle.host,
        handle.port,
        path,
        headers=_credentials(model),
        timeout_s=timeout_s,
        impostor=handle.listener.impostor if handle.listener is not None else None,
    )
    # That we have no descriptor left for the probe is no fault of the server's.
    return None if result.ready or result.answer is ProbeAnswer.NOT_ASKED else str(result)


def _credentials(model: ModelSpec) -> dict[str, str]:
    return {"Authorization": f"Bearer {model.upstream_key}"} if model.upstream_key else {}
