"""Says what the latest starts of each model spent their time on, and what would save some of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hotseat.core.spec import ModelSpec, Settings, StandbyMode
from hotseat.stack.doctor.check import CheckResult, ok, warning
from hotseat.telemetry.history import FILE, History, RecordedStart, StartKind

NOTABLE_S = 15.0
"""Seconds of a plain start from which saving some is worth a warning."""
_SHOWN = 3


def check_start_times(settings: Settings) -> Iterator[CheckResult]:
    """Check the models of which a start has been recorded."""
    path = Path(settings.serve.state_dir, FILE)
    if not path.exists():
        return
    history = History(path, lambda trouble: None)
    try:
        for name, model in settings.models.items():
            starts = history.recent(name)
            plain = [start for start in starts if start.kind is StartKind.COLD]
            if plain:
                yield _start_time(model, plain[-1], [s for s in starts if s.kind is StartKind.STANDBY])
    finally:
        history.close()


def _start_time(model: ModelSpec, plain: RecordedStart, prepared: list[RecordedStart]) -> CheckResult:
    name = f"start of {model.name}"
    longest = sorted(plain.phases.items(), key=lambda item: -item[1])[:_SHOWN]
    parts = ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in longest if seconds >= 0.5)
    words = f"{plain.seconds:.0f} s" + (f" ({parts})" if parts else "")
    if prepared:
        words += f"; {prepared[-1].seconds:.0f} s from standby"
    fixes = []
    if model.engine == "vllm" and plain.seconds >= NOTABLE_S:
        program = model.launch.program
        if model.scheduling.standby is StandbyMode.OFF:
            fixes.append("standby: demand prepares it while it waits for the GPU")
        if program is not None and "VLLM_WORKER_MULTIPROC_METHOD" not in program.env:
            fixes.append("VLLM_WORKER_MULTIPROC_METHOD: fork in env saves its second import (not on WSL)")
    return (
        warning(name, words, "; ".join(fixes) + " (docs/how-to/fast-swaps.md)") if fixes else ok(name, words)
    )
