"""Refusals: what a client is told when it gets no lease, and when to try again."""

from __future__ import annotations

from hotseat.core.errors import Code, Reason, Refusal
from hotseat.core.model_state import ModelState
from hotseat.core.spec import PPM, Footprint

RETRY_MAX_S = 60.0
"""The longest ``Retry-After`` that is sent, in seconds: clients do not obey longer ones."""


def unknown(model: str) -> Refusal:
    """The model is not configured."""
    return Refusal(
        code=Code.MODEL_NOT_FOUND,
        message=f"model {model} does not exist here",
        model=model,
        should_retry=False,
    )


def shutting_down(model: ModelState) -> Refusal:
    """hotseat shuts down."""
    return Refusal(
        code=Code.SHUTTING_DOWN, message="hotseat is shutting down", model=model.name, retry_after_s=10.0
    )


def unusable(model: str, why: str) -> Refusal:
    """The model's runtime cannot work now."""
    return Refusal(
        code=Code.RUNTIME_UNAVAILABLE,
        message=f"model {model} cannot be started now: {why}",
        model=model,
        retry_after_s=5.0,
    )


def backing_off(model: ModelState, now: float) -> Refusal:
    """The model failed: why, and when it is tried again."""
    reason = model.failure or model.reason or Reason(summary="it failed")
    wait_s = max(1.0, model.backoff_until - now)
    if reason.permanent:
        return Refusal(
            code=Code.MODEL_FAILED,
            message=f"model {model.name} cannot start: {reason.for_clients()}",
            model=model.name,
            retry_after_s=min(wait_s, RETRY_MAX_S),
            should_retry=False,
        )
    what = "failed" if model.served else "failed to start"
    return Refusal(
        code=Code.MODEL_BACKOFF,
        message=f"model {model.name} {what}: {reason.for_clients()}; next try in {wait_s:.0f} s",
        model=model.name,
        retry_after_s=min(wait_s, RETRY_MAX_S),
    )


def start_timeout(model: ModelState) -> Refusal:
    """The start took longer than ``start_timeout``."""
    return Refusal(
        code=Code.START_TIMEOUT,
        message=f"model {model.name} was not ready within {model.spec.start_timeout_s:g} s and is stopped",
        model=model.name,
        retry_after_s=10.0,
    )


def unplaced(model: ModelState, reason: Reason) -> Refusal:
    """The runtime found no room for the model within ``start_timeout``."""
    return Refusal(
        code=Code.NO_ROOM,
        message=f"there was no room for model {model.name} within {model.spec.start_timeout_s:g} s: "
        f"{reason.for_clients()}",
        model=model.name,
        retry_after_s=10.0,
    )


def queue_full(model: ModelState, now: float) -> Refusal:
    """The queue has reached ``max_queue``."""
    return Refusal(
        code=Code.QUEUE_FULL,
        message=f"the queue of model {model.name} is full: {len(model.queue)} requests wait",
        model=model.name,
        retry_after_s=min(max(1.0, _next_place_s(model, now)), RETRY_MAX_S),
    )


def waited_too_long(model: ModelState, waited_s: float) -> Refusal:
    """The request has waited as long as it may."""
    return Refusal(
        code=Code.WAIT_LIMIT,
        message=f"no answer within {waited_s:.0f} s: model {model.name} is {model.state}",
        model=model.name,
        retry_after_s=10.0,
    )


def stopped(model: ModelState) -> Refusal:
    """An operator stopped the model."""
    return Refusal(
        code=Code.STOPPED_BY_OPERATOR,
        message=f"model {model.name} was stopped by its operator",
        model=model.name,
        retry_after_s=5.0,
    )


def no_room(model: ModelState, budget: Footprint) -> Refusal:
    """The model can never fit beside pinned models."""
    need = ", ".join(f"{share / PPM:g} of GPU {device}" for device, share in model.spec.footprint.items())
    have = ", ".join(f"{share / PPM:g} of GPU {device}" for device, share in budget.items())
    return Refusal(
        code=Code.NO_ROOM,
        message=f"model {model.name} needs {need}: more than pinned models leave of the budget, {have}",
        model=model.name,
        should_retry=False,
    )


def _next_place_s(model: ModelState, now: float) -> float:
    """Estimated seconds until a place in the queue is free."""
    service_s = model.service_s or 1.0
    slots = model.spec.max_in_flight or max(1, len(model.leases))
    start_s = 0.0 if model.leases else max(0.0, (model.start_cost_s or 10.0) - (now - model.ordered_at))
    return start_s + service_s * max(1, len(model.queue)) / slots
