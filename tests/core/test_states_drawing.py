"""The drawing of the states in ``docs/design.md`` is current."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hotseat.core.states import TRANSITIONS, State

ROOT = Path(__file__).parents[2]


def test_the_drawing_is_current() -> None:
    check = [sys.executable, str(ROOT / "docs" / "generate_states.py"), "--check"]
    assert subprocess.run(check, check=False, timeout=60).returncode == 0, (
        "run: python docs/generate_states.py"
    )


def test_every_state_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS) == set(State)
    reached: set[State] = set()
    line = [State.STOPPED]
    while line:
        state = line.pop()
        if state not in reached:
            reached.add(state)
            line.extend(new for states in TRANSITIONS[state].values() for new in states)
    assert reached == set(State)
    assert all(TRANSITIONS.values())
