"""Refusals: what a client is told when it gets no lease, and when to try again."""

from __future__ import annotations

import math

from hotseat.core.errors import Code, Reason, Refusal
from hotseat.core.model_state import ModelState
from hotseat.core.policy import EQUAL_FAILURES
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
    wait_s = retry_s(model.backoff_until - now)
    if reason.permanent or model.equal_failures >= EQUAL_FAILURES:
        return _cannot_start(model, reason, model.equal_failures, wait_s)
    what = "failed" if model.served else "failed to start"
    return Refusal(
        code=Code.MODEL_BACKOFF,
        message=f"model {model.name} {what}: {explain(model.name, reason)}; next try in {wait_s:.0f} s",
        model=model.name,
        retry_after_s=wait_s,
    )


def start_timeout(model: ModelState, reason: Reason) -> Refusal:
    """The start took longer than ``start_timeout``; ``reason`` says so."""
    last = model.reason
    if last is not None and last.summary == reason.summary and model.equal_failures + 1 >= EQUAL_FAILURES:
        return _cannot_start(model, reason, model.equal_failures + 1, 10.0)
    return Refusal(
        code=Code.START_TIMEOUT,
        message=f"model {model.name} was not ready within {model.spec.start_timeout_s:g} s and is stopped: "
        f"{model.start_note or where_it_stands(model.name)}",
        model=model.name,
        retry_after_s=10.0,
    )


def _cannot_start(model: ModelState, reason: Reason, times: int, wait_s: float) -> Refusal:
    """Waiting does not help: the reason is permanent, or it was the same several times in a row."""
    repeated = "" if reason.permanent else f" ({times} times in a row)"
    return Refusal(
        code=Code.MODEL_FAILED,
        message=f"model {model.name} cannot start: {explain(model.name, reason)}{repeated}",
        model=model.name,
        retry_after_s=wait_s,
        should_retry=False,
    )


def retry_s(left_s: float) -> float:
    """Whole seconds until the next try, as messages and ``Retry-After`` both tell them."""
    return float(min(max(1, math.ceil(left_s)), RETRY_MAX_S))


def explain(model: str, reason: Reason) -> str:
    """Return the reason in words for clients; where it does not name the cause, with where that stands."""
    words = reason.for_clients()
    if reason.hint or reason.explained or reason.permanent:
        return words
    return f"{words}: {where_it_stands(model)}"


def where_it_stands(model: str) -> str:
    """Return where the cause of a failure stands that the log alone tells."""
    return f"`hotseat logs {model}` shows why"


def not_loaded(model: ModelState, *, forbidden: bool) -> Refusal:
    """Another model would have to be evicted, and the request may not do that.

    ``forbidden``: its route says so (``may_evict: false``, ``model: current``); else such requests give up.
    """
    why = (
        "this request may not evict another model"
        if forbidden
        else "requests like this one gave up before it was, so no other model is evicted for them"
    )
    return Refusal(
        code=Code.MODEL_NOT_LOADED,
        message=f"model {model.name} is not loaded, and {why}",
        model=model.name,
        should_retry=False,
    )


def unplaced(model: ModelState, reason: Reason) -> Refusal:
    """The runtime found no room for the model within ``start_timeout``."""
    return Refusal(
        code=Code.UNSCHEDULABLE,
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
