"""Checks that the GPU budget can hold every model: alone, and together with the pinned ones."""

from __future__ import annotations

from collections.abc import Mapping

from hotseat.config.document import Document
from hotseat.core.spec import PPM, ModelSpec


def check_capacity(document: Document, budgets: Mapping[str, int], models: Mapping[str, ModelSpec]) -> None:
    """Report models that can never run: alone, or next to the pinned models, which are never stopped."""
    if document.tainted(("gpu",)):
        return
    checked = {
        name: model.scheduling for name, model in models.items() if not document.tainted(("models", name))
    }
    pinned = {name: spec for name, spec in checked.items() if spec.pinned}
    for device, budget in budgets.items():
        taken = sum(spec.footprint.get(device, 0) for spec in pinned.values())
        if len(pinned) > 1 and taken > budget:
            for name in pinned:
                document.problem(
                    ("models", name, "pinned"),
                    f"the pinned models ({', '.join(sorted(pinned))}) together need {_percent(taken)} of "
                    f"device {device}, but its budget is {_percent(budget)}",
                    "pin fewer models, or lower a footprint",
                )
        for name, spec in checked.items():
            own = spec.footprint.get(device, 0)
            if own > budget:
                document.problem(
                    ("models", name, "footprint"),
                    f"needs {_percent(own)} of device {device}, but its budget is {_percent(budget)}",
                    "lower the footprint, or raise gpu.budget",
                )
            elif not spec.pinned and own and taken <= budget < own + taken:
                document.problem(
                    ("models", name, "footprint"),
                    f"needs {_percent(own)} of device {device}, which the pinned models "
                    f"({', '.join(sorted(pinned))}: {_percent(taken)}) never leave free in a budget of "
                    f"{_percent(budget)}",
                    "pin fewer models, or lower a footprint",
                )


def _percent(parts: int) -> str:
    return f"{parts / PPM:g} GPUs" if parts > PPM else f"{parts / 10_000:g} %"
