"""Lint rules, their findings, and the stack that they check."""

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
    """A violation of a rule: where, what is wrong and what to do."""

    rule: str
    severity: Severity
    file: str
    line: int | None
    service: str | None
    message: str
    fix: str

    def as_json(self) -> dict[str, Any]:
        """The fields as ``hotseat lint --json`` prints them."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LintedStack:
    """The input of the rules: the Compose project, its text as written, and hotseat's configuration."""

    project: ComposeModel
    written: ComposeText
    settings: Settings | None
    """``None`` if there is no ``hotseat.yaml``."""

    def containers(self) -> dict[str, str]:
        """Names of models by the container that the configuration names for them."""
        models = self.settings.models.values() if self.settings else ()
        return {container: model.name for model in models if (container := model.launch.container_name)}

    def models(self) -> list[ComposeService]:
        """Services that are model servers: recognised by their options, or named by the configuration."""
        named = self.containers()
        return [
            one
            for one in self.project.services.values()
            if one.name != "launcher" and (one.is_model or one.container in named)
        ]

    def budget(self) -> int:
        """The GPU budget of the first device, in parts per million."""
        return next(iter(self.settings.scheduler.budget.values()), PPM) if self.settings else 900_000


Found = tuple[Key, str | None, str]
"""The key at fault, the service, and the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LintRule:
    """A requirement on the files of a stack."""

    name: str
    severity: Severity
    about: str
    """A description of violations, for the reference page."""
    fix: str
    check: Callable[[LintedStack], Iterator[Found]]

    def findings(self, stack: LintedStack, file: str) -> Iterator[Finding]:
        """All violations in a stack; ``file`` is named where the position is not known."""
        for key, service, message in self.check(stack):
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
