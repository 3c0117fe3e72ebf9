"""What a client is told when it gets no lease: calm, true, and something to act on."""

from __future__ import annotations

from hotseat.core.errors import Code, Reason, Refusal
from hotseat.core.model_state import ModelState
from hotseat.core.spec import PPM, Footprint

RETRY_MAX_S = 60.0
"""Clients obey no longer ``Retry-After`` than this."""


def unknown(model: str) -> Refusal:
    """No such model is configured."""
    return Refusal(
        code=Code.MODEL_NOT_FOUND,
        message=f"model {model} does not exist here",
        model=model,
        should_retry=False,
    )


def shutting_down(seat: ModelState) -> Refusal:
    """hotseat is about to end."""
    return Refusal(
        code=Code.SHUTTING_DOWN, message="hotseat is shutting down", model=seat.name, retry_after_s=10.0
    )


def unusable(model: str, why: str) -> Refusal:
    """Its runtime cannot work now."""
    return Refusal(
        code=Code.RUNTIME_UNAVAILABLE,
        message=f"model {model} cannot be started now: {why}",
        model=model,
        retry_after_s=5.0,
    )


def backing_off(seat: ModelState, now: float) -> Refusal:
    """It failed; why, and when it is tried again."""
    reason = seat.failed or seat.reason or Reason(summary="it failed")
    wait_s = max(1.0, seat.backoff_until - now)
    if reason.permanent:
        return Refusal(
            code=Code.MODEL_FAILED,
            message=f"model {seat.name} cannot start: {reason.for_clients()}",
            model=seat.name,
            retry_after_s=min(wait_s, RETRY_MAX_S),
            should_retry=False,
        )
    what = "failed" if seat.served else "failed to start"
    return Refusal(
        code=Code.MODEL_BACKOFF,
        message=f"model {seat.name} {what}: {reason.for_clients()}; next try in {wait_s:.0f} s",
        model=seat.name,
        retry_after_s=min(wait_s, RETRY_MAX_S),
    )


def start_timeout(seat: ModelState) -> Refusal:
    """It was given its time and did not become ready."""
    return Refusal(
        code=Code.START_TIMEOUT,
        message=f"model {seat.name} was not ready within {seat.spec.start_timeout_s:g} s and is stopped",
        model=seat.name,
        retry_after_s=10.0,
    )


def queue_full(seat: ModelState, now: float) -> Refusal:
    """Too many wait already."""
    return Refusal(
        code=Code.QUEUE_FULL,
        message=f"{len(seat.queue)} requests wait for model {seat.name} already",
        model=seat.name,
        retry_after_s=min(max(1.0, _until_next(seat, now)), RETRY_MAX_S),
    )


def waited_too_long(seat: ModelState, waited_s: float) -> Refusal:
    """It waited as long as anybody may."""
    return Refusal(
        code=Code.WAIT_LIMIT,
        message=f"model {seat.name} is {seat.state} and did not get to this within {waited_s:.0f} s",
        model=seat.name,
        retry_after_s=10.0,
    )


def stopped(seat: ModelState) -> Refusal:
    """An operator stopped it."""
    return Refusal(
        code=Code.STOPPED_BY_OPERATOR,
        message=f"model {seat.name} was stopped by its operator",
        model=seat.name,
        retry_after_s=5.0,
    )


def no_room(seat: ModelState, budget: Footprint) -> Refusal:
    """It can never fit beside what is pinned."""
    need = ", ".join(f"{share / PPM:g} of GPU {device}" for device, share in seat.spec.footprint.items())
    have = ", ".join(f"{share / PPM:g} of GPU {device}" for device, share in budget.items())
    return Refusal(
        code=Code.NO_ROOM,
        message=f"model {seat.name} needs {need}; pinned models leave too little of the budget, {have}",
        model=seat.name,
        should_retry=False,
    )


def _until_next(seat: ModelState, now: float) -> float:
    """An honest guess of when a place in the queue will be free, in seconds."""
    service_s = seat.service_s or 1.0
    slots = seat.spec.max_in_flight or max(1, len(seat.leases))
    start_s = 0.0 if seat.leases else max(0.0, (seat.start_cost_s or 10.0) - (now - seat.ordered_at))
    return start_s + service_s * max(1, len(seat.queue)) / slots
