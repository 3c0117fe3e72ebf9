"""The runtime ``script``: a model is a Python file that serves on ``--port``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from hotseat.config_fields import ConfigModel
from hotseat.core.spec import LaunchSpec, Program
from hotseat.runtimes.base import Runtime
from hotseat.runtimes.kind import RuntimeKind, WrittenLaunch
from hotseat.runtimes.process.runtime import ProcessRuntime


class ScriptKeys(ConfigModel):
    """The keys of a model."""

    script: str | None = Field(default=None, description="The Python file to run.")


class ScriptTopKeys(ConfigModel):
    """The keys at the top of the file."""

    interpreter: str | None = Field(default=None, description="The Python that runs scripts.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptSpec(LaunchSpec):
    """A model that is a script."""

    script: str
    interpreter: str

    @property
    def target(self) -> str:
        """The file."""
        return self.script

    def describe(self) -> str:
        """Return ``script NAME``."""
        return f"script {Path(self.script).name}"

    @property
    def program(self) -> Program:
        """The interpreter with the script."""
        return Program(command=(self.interpreter, self.script, "--port", "{port}"))


class ScriptRuntime(ProcessRuntime):
    """Runs scripts as plain processes."""

    name = "script"


def _resolve(written: WrittenLaunch[ScriptKeys, ScriptTopKeys]) -> ScriptSpec:
    if not written.model.script:
        written.problems.problem(written.path, "names no script", f"write {written.examples[0]}")
    return ScriptSpec(
        script=written.file(written.model.script or ""), interpreter=written.top.interpreter or sys.executable
    )


def _create(state_dir: Path) -> Runtime:
    return ScriptRuntime(state_dir)


KIND = RuntimeKind(
    name="script",
    model_keys=ScriptKeys,
    top_keys=ScriptTopKeys,
    selecting_key="script",
    example="script: FILE.py",
    resolve=_resolve,
    create=_create,
)
