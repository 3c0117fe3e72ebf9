"""Whether every model can have the seat at all: alone, and beside those that never leave it."""

from __future__ import annotations

from collections.abc import Mapping

from hotseat.config.document import Document
from hotseat.core.spec import ModelSpec


def check_room(document: Document, budgets: Mapping[str, int], models: Mapping[str, ModelSpec]) -> None:
    """Everything fits the budget alone, and with all that is never evicted."""
    if document.tainted(("gpu",)):
        return
    sound = {
        name: model.scheduling for name, model in models.items() if not document.tainted(("models", name))
    }
    pinned = {name: seat for name, seat in sound.items() if seat.pinned}
    for device, budget in budgets.items():
        taken = sum(seat.footprint.get(device, 0) for seat in pinned.values())
        if len(pinned) > 1 and taken > budget:
            for name in pinned:
                document.problem(
                    ("models", name, "pinned"),
                    f"the pinned models ({', '.join(sorted(pinned))}) take {_percent(taken)} of device "
                    f"{device} together, and the budget is {_percent(budget)}",
                    "pin fewer, or lower a footprint",
                )
        for name, seat in sound.items():
            own = seat.footprint.get(device, 0)
            if own > budget:
                document.problem(
                    ("models", name, "footprint"),
                    f"takes {_percent(own)} of device {device}, and the budget is {_percent(budget)}",
                    "lower the footprint, or raise gpu.budget",
                )
            elif not seat.pinned and own and taken <= budget < own + taken:
                document.problem(
                    ("models", name, "footprint"),
                    f"takes {_percent(own)} of device {device}: beside the pinned models "
                    f"({', '.join(sorted(pinned))}: {_percent(taken)}) it can never fit the budget of "
                    f"{_percent(budget)}",
                    "pin fewer, or lower a footprint",
                )


def _percent(parts: int) -> str:
    return f"{parts / 10_000:g} %"
