"""Models in words, for tables and messages."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from hotseat.admin.schema import ModelStatus

LOADING = ("downloading", "starting", "waking")
"""States that end in ``ready``: the time left can be estimated."""
IDLE = ("stopped", "preparing", "standby", "asleep")
"""States in which a model waits for a request, or for GPU memory."""
LEAVING = ("draining", "stopping", "suspending")
"""States that free GPU memory when they end."""


def describe(model: ModelStatus, blocker: str = "") -> str:
    """A model's state, such as ``starting (compiling, about 35 s left)``.

    ``blocker``: what a queued model waits for (see ``blocked_by``).
    """
    if is_queued(model):
        details = [] if model.eta_s is None else [f"start takes about {model.eta_s:.0f} s"]
        state = f"queued; {blocker}" if blocker else "queued"
    else:
        state, details = model.state, []
        if model.phase is not None and model.phase != state:
            details.append(model.phase)
        if model.eta_s is not None and state in LOADING:
            details.append(f"about {model.eta_s:.0f} s left")
    if model.retry_in_s is not None:
        details.append(f"next try in {model.retry_in_s:.0f} s")
    return f"{state} ({', '.join(details)})" if details else state


def is_queued(model: ModelStatus) -> bool:
    """Whether the model is wanted and waits for GPU memory."""
    return model.state in IDLE and (model.requested or model.waiting > 0)


def blocked_by(name: str, models: Mapping[str, ModelStatus]) -> str:
    """Reason why a queued model waits, derived from the other models' states; empty when unknown."""
    others = {other: one for other, one in models.items() if other != name and one.footprint}
    leaving = [other for other, one in others.items() if one.state in LEAVING]
    if leaving:
        return f"waiting for {' and '.join(leaving)} to stop"
    return f"{' or '.join(others)} must stop first" if others else ""


def outdated_line(model: str, why: str) -> str:
    """Return a line about a model whose container is outdated."""
    return f"{model}: {why}; its next start creates it anew. To restart now: hotseat stop {model}"


def ago(iso: str | None, now: datetime.datetime) -> str:
    """Time passed since then: ``5 m ago``; empty for ``None`` and for text that is not a time."""
    if iso is None:
        return ""
    try:
        seconds = int((now - datetime.datetime.fromisoformat(iso)).total_seconds())
    except (ValueError, TypeError):
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{max(0, seconds)} s ago"
