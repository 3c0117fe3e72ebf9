"""Validates data against the schema and reports every problem with its position and a remedy.

Invalid values are removed, so that the rest can be validated and all problems are reported at once.
"""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hotseat.config.document import MINIMAL_FILE, Document, Path
from hotseat.config.schema.gpu import GpuConfig
from hotseat.config.schema.inherited import InheritedSettings
from hotseat.config.schema.keys import BasicAuthConfig, KeyConfig
from hotseat.config.schema.model import ModelConfig
from hotseat.config.schema.policy import PolicyConfig, SystemPromptConfig
from hotseat.config.schema.root import RootConfig
from hotseat.config.schema.route import RouteConfig
from hotseat.config.schema.service_levels import ServiceLevels
from hotseat.config.schema.sleep import SleepConfig
from hotseat.config.schema.standby import StandbyConfig
from hotseat.config.schema.tls import TlsConfig
from hotseat.runtimes import registry

_KEYS: dict[str, type[BaseModel]] = {
    "gpu": GpuConfig,
    "sleep": SleepConfig,
    "standby": StandbyConfig,
    **{section.key: section.keys for section in registry.sections()},
    "system_prompt": SystemPromptConfig,
    "basic": BasicAuthConfig,
    "tls": TlsConfig,
    "slo": ServiceLevels,
}
_NAMED: dict[str, type[BaseModel]] = {"models": ModelConfig, "routes": RouteConfig, "keys": KeyConfig}
_PLACES = ("", "models.NAME", "routes.NAME", "keys.NAME", *_KEYS)
_MAX_ROUNDS = 50


def validate(document: Document) -> RootConfig:
    """The valid part of the document's data; problems with the rest go into the document."""
    data = document.data
    if not isinstance(data, dict):
        if () not in document.bad:
            document.problem(
                (),
                "the file is empty" if data is None else "expected key: value lines",
                f"the smallest file is {MINIMAL_FILE}",
            )
        return RootConfig()
    data = {key: value for key, value in data.items() if not key.startswith("x-")}
    for _ in range(_MAX_ROUNDS):
        try:
            return RootConfig.model_validate(data)
        except ValidationError as error:
            found = error.errors(include_url=False)
        for detail in found:
            path = _remove(data, detail["loc"])
            if path not in document.bad:
                _report(document, path, detail)
    return RootConfig()


def _remove(data: dict[str, Any], loc: tuple[int | str, ...]) -> Path:
    """Remove the value at ``loc``, or the innermost mapping around it, from the data; returns its path."""
    at: Any = data
    for depth, part in enumerate(loc):
        inner = _inner(at, part)
        if depth + 1 == len(loc) or not isinstance(inner, dict):
            at.pop(part, None)
            return loc[: depth + 1]
        at = inner
    return ()


def _inner(at: Any, part: int | str) -> Any:
    return at.get(part) if isinstance(at, dict) else None


def _report(document: Document, path: Path, detail: ErrorDetails) -> None:
    kind, fix = detail["type"], ""
    if kind == "extra_forbidden":
        message, fix = _unknown(path)
    elif detail["input"] is None:
        message, fix = "has no value", "add one, or remove the line to use the default"
    elif kind == "value_error":
        message = str(detail["ctx"]["error"])
    elif kind in ("model_type", "dict_type", "model_attributes_type"):
        message = "expected key: value lines"
    elif kind == "string_type":
        message = "expected text"
        fix = "" if isinstance(detail["input"], dict | list) else "put it in quotes"
    elif kind == "literal_error":
        message = f"expected {detail['ctx']['expected']}"
    else:
        message = detail["msg"][:1].lower() + detail["msg"][1:]
    document.problem(path, message, fix)


def _unknown(path: Path) -> tuple[str, str]:
    known = keys_at(path[:-1])
    key = str(path[-1])
    for place in _PLACES:
        if key in keys_at(tuple(place.split(".")) if place else ()):
            return "unknown key here", f"it belongs {f'to {place}' if place else 'at the top of the file'}"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return "unknown key", f"did you mean {near[0]}?" if near else f"allowed keys: {', '.join(known)}"


def keys_at(path: Path) -> list[str]:
    """The keys that are allowed in the mapping at this path: its own first, then those it shares."""
    if not path:
        section: type[BaseModel] = RootConfig
    elif path[0] in _NAMED and len(path) == 2:
        section = _NAMED[path[0]]
    else:
        section = _KEYS[str(path[-1])]
    return sorted(section.model_fields, key=_is_shared)


def _is_shared(key: str) -> bool:
    return key in PolicyConfig.model_fields or key in InheritedSettings.model_fields
