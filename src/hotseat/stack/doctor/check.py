"""The results that ``hotseat doctor`` prints, one line for each check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "error", "unknown"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check."""

    name: str
    state: State
    message: str
    fix: str = ""
    """The command to run or the change to make; ``""`` where nothing is to be done."""

    def as_json(self) -> dict[str, Any]:
        """The fields as ``hotseat doctor --json`` prints them."""
        return asdict(self)


def ok(name: str, message: str) -> CheckResult:
    """The check passed."""
    return CheckResult(name, "ok", message)


def warning(name: str, message: str, fix: str) -> CheckResult:
    """Works, but has a flaw."""
    return CheckResult(name, "warning", message, fix)


def error(name: str, message: str, fix: str) -> CheckResult:
    """Return a check whose subject does not work."""
    return CheckResult(name, "error", message, fix)


def unknown(name: str, message: str, fix: str = "") -> CheckResult:
    """Could not be checked."""
    return CheckResult(name, "unknown", message, fix)
