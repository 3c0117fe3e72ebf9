"""What ``hotseat doctor`` says: a line for each thing that it looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "error", "unknown"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was looked at."""

    name: str
    state: State
    message: str
    fix: str = ""
    """What to type, or to change."""

    def as_json(self) -> dict[str, Any]:
        """As ``hotseat doctor --json`` prints it."""
        return asdict(self)


def ok(name: str, message: str) -> CheckResult:
    """All is well."""
    return CheckResult(name, "ok", message)


def warning(name: str, message: str, fix: str) -> CheckResult:
    """It works, but not as it should."""
    return CheckResult(name, "warning", message, fix)


def error(name: str, message: str, fix: str) -> CheckResult:
    """It does not work."""
    return CheckResult(name, "error", message, fix)


def unknown(name: str, message: str, fix: str = "") -> CheckResult:
    """It could not be looked at."""
    return CheckResult(name, "unknown", message, fix)
