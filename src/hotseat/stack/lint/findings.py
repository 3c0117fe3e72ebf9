"""What a check of a stack found, and the list of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hotseat.core.spec import PPM, Settings
from hotseat.stack.compose.compose_file import ComposeText, Key
from hotseat.stack.compose.model import ComposeModel, ComposeService

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A broken rule: where, what, and what to do."""

    rule: str
    severity: Severity
    file: str
    line: int | None
    service: str | None
    message: str
    fix: str

    def as_json(self) -> dict[str, Any]:
        """As ``hotseat lint --json`` prints it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LintedStack:
    """What is checked: the project, its text as written, and the configuration of hotseat."""

    project: ComposeModel
    written: ComposeText
    settings: Settings | None
    """``None``: there is no ``hotseat.yaml``, and nothing to agree with."""

    def containers(self) -> dict[str, str]:
        """The containers that the configuration names, with their models."""
        models = self.settings.models.values() if self.settings else ()
        return {container: model.name for model in models if (container := model.launch.container_name)}

    def models(self) -> list[ComposeService]:
        """The services that are model servers: they look like it, or the configuration says so."""
        named = self.containers()
        return [
            one
            for one in self.project.services.values()
            if one.name != "launcher" and (one.is_model or one.container in named)
        ]

    def budget(self) -> int:
        """What models may take together, in parts per million of the first device."""
        return next(iter(self.settings.scheduler.budget.values()), PPM) if self.settings else 900_000


Found = tuple[Key, str | None, str]
"""The key that is at fault, the service, and the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LintRule:
    """One promise that a stack keeps."""

    name: str
    severity: Severity
    about: str
    """What it finds, for the reference."""
    fix: str
    look: Callable[[LintedStack], Iterator[Found]]

    def findings(self, stack: LintedStack, file: str) -> Iterator[Finding]:
        """All places where a stack breaks it; ``file`` is named where the place is not known."""
        for key, service, message in self.look(stack):
            where = stack.written.where(key)
            yield Finding(
                rule=self.name,
                severity=self.severity,
                file=where[0] if where else file,
                line=where[1] if where else None,
                service=service,
                message=message,
                fix=self.fix,
            )
