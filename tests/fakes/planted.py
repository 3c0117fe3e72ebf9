"""Planted bugs: small, believable mistakes, each of which a property test must find.

A bug replaces one function; random histories are tried until one fails.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


@dataclass(frozen=True)
class Bug:
    """One mistake."""

    promise: int
    name: str
    owner: Any
    attribute: str
    replacement: Any


def wrapping(promise: int, name: str, owner: Any, attribute: str, plant: Callable[..., Any]) -> Bug:
    """A bug whose replacement is made from the real function."""
    return Bug(promise, name, owner, attribute, plant(getattr(owner, attribute)))


def hunt(
    bug: Bug, histories: type[RuleBasedStateMachine], examples: int, steps: int
) -> tuple[str | None, int]:
    """What gave the bug away (``None``: nothing), and after how many histories."""
    tried = 0

    class Counted(histories):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            nonlocal tried
            tried += 1
            super().__init__()

    terms = settings(
        max_examples=examples, stateful_step_count=steps, derandomize=True, database=None, deadline=None,
        phases=(Phase.generate,), suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    planted = patch.object(bug.owner, bug.attribute, bug.replacement)
    with planted, contextlib.redirect_stdout(io.StringIO()):
        try:
            run_state_machine_as_test(Counted, settings=terms)
        except BaseExceptionGroup as errors:
            return str(errors.exceptions[0]).splitlines()[0][:90], tried
        except Exception as error:
            return (str(error) or type(error).__name__).splitlines()[0][:90], tried
    return None, tried


def main(bugs: Iterable[Bug], histories: type[RuleBasedStateMachine], examples: int, steps: int) -> int:
    """Hunt all bugs, or those whose name holds the word given; 1 when one was not found."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    missed = 0
    for bug in bugs:
        if word not in bug.name:
            continue
        began = time.monotonic()
        found, tried = hunt(bug, histories, examples, steps)
        missed += found is None
        verdict = f"found by history {tried}: {found}" if found else f"NOT FOUND in {tried} histories"
        print(f"{bug.promise}  {bug.name:52} {time.monotonic() - began:5.1f} s  {verdict}", flush=True)
    print("all found" if not missed else f"{missed} not found")
    return 1 if missed else 0
