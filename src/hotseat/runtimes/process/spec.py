"""Launch of a model as a plain process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hotseat.core.spec import LaunchSpec, Program


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec(LaunchSpec):
    """A model that is a plain process."""

    command: tuple[str, ...]
    """``{port}`` stands for the port that hotseat chose."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to hotseat's own environment, less its secrets."""
    cwd: str | None = None
    """Working directory; ``None``: hotseat's own."""

    @property
    def target(self) -> str:
        """The program as the command names it."""
        return self.command[0]

    @property
    def program(self) -> Program:
        """The command with its environment and working directory."""
        return Program(command=self.command, env=self.env, cwd=self.cwd)
