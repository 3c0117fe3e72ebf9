"""Writes the legal transitions into ``docs/design.md``: ``python docs/generate_states.py [--check]``."""

from __future__ import annotations

import sys
from pathlib import Path

from hotseat.core.states import HOLDS_LEASES, HOLDS_RUN, TRANSITIONS, Cause, State

PAGE = Path(__file__).with_name("design.md")
BEGIN, END = "<!-- states:begin -->", "<!-- states:end -->"


def drawing() -> str:
    """The table as a Mermaid diagram and with its causes, and what the states hold."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> STOPPED"]
    for old in State:
        lines += [f"    {old.name} --> {new.name}" for new in State if _causes(old, new)]
    lines += ["```", "", "| from | to | causes |", "|---|---|---|"]
    for old in State:
        lines += [f"| {old.name} | {new.name} | {_causes(old, new)} |" for new in State if _causes(old, new)]
    lines += [
        "",
        f"A model has a run, which takes memory, while it is {_names(HOLDS_RUN)};"
        f" leases can be held while it is {_names(HOLDS_LEASES)}.",
    ]
    return "\n".join(lines)


def _causes(old: State, new: State) -> str:
    """The causes of a transition, in words; empty where there are none."""
    return ", ".join(f"`{cause}`" for cause in Cause if new in TRANSITIONS[old].get(cause, ()))


def _names(states: frozenset[State]) -> str:
    names = [state.name for state in State if state in states]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def page_with(drawn: str, page: str) -> str:
    """The page, with the drawing between its markers. Raises ``ValueError`` when they are missing."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{drawn}\n{END}{tail}"


def main() -> int:
    """Write the page; with ``--check`` only say whether it is current (status 1: no)."""
    old = PAGE.read_text(encoding="utf-8")
    new = page_with(drawing(), old)
    if "--check" in sys.argv[1:]:
        return 0 if new == old else 1
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
