"""Problems of a configuration: where, what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ConfigProblem:
    """One problem of a configuration."""

    file: str
    """The file, or ``environment``."""
    line: int | None
    """Counted from 1; ``None`` where there is none (the environment, a missing file)."""
    key: str
    """Dotted, such as ``models.chat.idle``; ``""`` for the whole file."""
    message: str
    fix: str = ""
    """A remedy, in one sentence; ``""`` where the message makes it clear."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        subject = f"{place}: {self.key}: " if self.key else f"{place}: "
        return subject + self.message + (f" ({self.fix})" if self.fix else "")


class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` holds all its problems, in file order."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        self.problems = sorted(set(problems), key=lambda one: (one.file, one.line or 0, one.key, one.message))
        super().__init__(str(self))

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)
