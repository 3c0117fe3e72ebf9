"""The input of ``hotseat doctor``: a stack's folder and what was read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hotseat.core.spec import Settings
from hotseat.stack.compose.model import ComposeModel, ComposeService
from hotseat.stack.compose.reading import ComposeCommand
from hotseat.stack.doctor.check import CheckResult


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorContext:
    """A stack on this machine, as far as it could be read."""

    folder: Path
    env: Mapping[str, str]
    """The environment of this process."""
    values: Mapping[str, str]
    """Variables from the folder's ``.env``, as far as it can be read."""
    settings: Settings | None
    project: ComposeModel | None
    compose: ComposeCommand | None
    now: datetime
    lockouts: Sequence[CheckResult] = ()
    """Who is locked out by the configured keys."""
    card: int | None = None
    """The GPU's memory in bytes if given by the operator, instead of that of this machine's GPU."""

    def value(self, name: str, default: str) -> str:
        """A variable as Compose resolves it: the environment, else ``.env``, else the default."""
        return self.env.get(name) or self.values.get(name) or default

    @property
    def cache(self) -> Path:
        """The folder for weights and compile caches."""
        return Path(self.value("CACHE_DIR", "/srv/llm/.cache"))

    def models(self) -> list[ComposeService]:
        """The services that hotseat.yaml names as models; without any, those that look like model servers."""
        if self.project is None:
            return []
        launches = [model.launch for model in self.settings.models.values()] if self.settings else []
        named = {launch.container_name for launch in launches if launch.container_name}
        found = [one for one in self.project.services.values() if one.container in named]
        return found or self.project.models()
