"""What is wrong with a configuration, said so that it can be mended: where, what, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ConfigProblem:
    """One thing that is wrong."""

    file: str
    """The file, or ``environment``."""
    line: int | None
    """Counted from 1; ``None`` where there is no line (the environment, a file that is missing)."""
    key: str
    """Dotted: ``models.chat.idle``; ``""`` for the whole file."""
    message: str
    fix: str = ""
    """What to do about it, one sentence; ``""`` where the message says it all."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        subject = f"{place}: {self.key}: " if self.key else f"{place}: "
        return subject + self.message + (f" ({self.fix})" if self.fix else "")


class ConfigError(Exception):
    """The configuration cannot be used. ``problems`` holds everything that is wrong, in file order."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        self.problems = sorted(set(problems), key=lambda one: (one.file, one.line or 0, one.key, one.message))
        super().__init__(str(self))

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)
