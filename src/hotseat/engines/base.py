"""What is known of a kind of server: its flags, the lines that it writes, and what they mean.

Everything here is a pure question. Unknown is ``None`` or empty, never a guess that could be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hotseat.core.errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What a failure line means, in words that a client may see."""

    summary: str
    hint: str | None = None
    permanent: bool = False
    """Waiting does not mend it."""
    oom: bool = False
    line: str = ""
    """The line that said so."""


LINES_SHOWN = 40
"""Of the lines that a run wrote last, those that admins are shown."""


class Engine(Protocol):
    """A kind of server. A command is a list of words, as it is run or as a container is given it."""

    name: str

    def footprint_share(self, command: Sequence[str]) -> float | None:
        """The share of a whole GPU's memory that it takes, 0 < share ≤ 1, where its flags say so."""

    def served_names(self, command: Sequence[str]) -> tuple[str, ...]:
        """Names by which the server knows its model, the preferred one first; empty: not known."""

    def lora_names(self, command: Sequence[str]) -> tuple[str, ...]:
        """Names of the adapters that it serves too."""

    def max_num_seqs(self, command: Sequence[str]) -> int | None:
        """How many requests it works on at once, where its flags say so."""

    def phase(self, line: str) -> str | None:
        """What a loading server does from this line on; ``None``: the line does not tell."""

    def hint(self, lines: Iterable[str]) -> Hint | None:
        """What it died of, judged by what it wrote."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A known failure line. ``{0}`` in the hint's summary stands for the flags named in the match."""

    pattern: re.Pattern[str]
    hint: Hint


def failure(
    pattern: str, summary: str, hint: str | None = None, *, permanent: bool = False, oom: bool = False
) -> Failure:
    """A row of a table of failures; the pattern is searched, case ignored."""
    meaning = Hint(summary=summary, hint=hint, permanent=permanent, oom=oom)
    return Failure(re.compile(pattern, re.IGNORECASE), meaning)


PYTHON_FAILURES = (
    failure(
        r"unrecognized arguments: (.+)", "unknown flag {0}", "this version does not know it", permanent=True
    ),
    failure(r"error: argument (-\S+)", "bad value for the flag {0}", permanent=True),
    failure(r"ModuleNotFoundError: No module named", "a Python module is missing", permanent=True),
)
SYSTEM_FAILURES = (
    failure(r"No space left on device", "the disk is full", "free space in the cache folder"),
    failure(r"Address already in use", "its port is taken"),
    failure(r"\bMemoryError\b|Cannot allocate memory", "out of host memory", oom=True),
)


def first_match(failures: Iterable[Failure], lines: Iterable[str]) -> Hint | None:
    """The first row of the table that any line matches: rows are sorted by how much they tell."""
    kept = list(lines)
    for row in failures:
        for line in kept:
            if (match := row.pattern.search(line)) is not None:
                named = _flags(match[1]) if match.re.groups else ""
                summary = row.hint.summary.replace("{0}", named).strip()
                return replace(row.hint, summary=summary, line=line)
    return None


def _flags(text: str) -> str:
    """The flags among some words, without their values: those may be secrets."""
    words = (word.partition("=")[0].rstrip(":,") for word in text.split())
    return " ".join(word for word in words if re.fullmatch(r"--?[A-Za-z][\w.-]*", word))


def explained(reason: Reason, engine: Engine, lines: Iterable[str] | None = None) -> Reason:
    """The reason with what its lines (or these) say about the cause, and of many lines those to show."""
    found = engine.hint(reason.lines if lines is None else lines)
    if len(reason.lines) > LINES_SHOWN:
        reason = replace(reason, lines=_shown(reason.lines, found.line if found else ""))
    if found is None:
        return reason
    return replace(
        reason,
        summary=found.summary,
        hint=found.hint,
        permanent=reason.permanent or found.permanent,
        oom=reason.oom or found.oom,
    )


def _shown(lines: Sequence[str], telling: str) -> tuple[str, ...]:
    """The last lines, after the one that tells the cause if that is further up."""
    last = tuple(lines[-LINES_SHOWN:])
    return last if not telling or telling in last else (telling, *last[1:])
