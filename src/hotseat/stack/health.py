"""What ``hotseat doctor`` says: a line for each thing that it looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "error", "unknown"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    message: str
    fix: str = ""
    """What to type, or to change."""

    def as_json(self) -> dict[str, Any]:
        """As ``hotseat doctor --json`` prints it."""
        return asdict(self)


def ok(name: str, message: str) -> Check:
    """All is well."""
    return Check(name, "ok", message)


def warning(name: str, message: str, fix: str) -> Check:
    """It works, but not as it should."""
    return Check(name, "warning", message, fix)


def error(name: str, message: str, fix: str) -> Check:
    """It does not work."""
    return Check(name, "error", message, fix)


def unknown(name: str, message: str, fix: str = "") -> Check:
    """It could not be looked at."""
    return Check(name, "unknown", message, fix)
