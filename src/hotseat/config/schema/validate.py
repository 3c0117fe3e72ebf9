"""Data against its shape: every error at its place, in words, with what to do.

What is wrong is cut out, so that the rest can be looked at too and all errors are told at once.
"""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hotseat.config.document import Document, Path
from hotseat.config.schema.access import (
    BasicAuthConfig,
    KeyConfig,
    PolicyConfig,
    SystemPromptConfig,
    TlsConfig,
)
from hotseat.config.schema.file import (
    GpuConfig,
    ModelConfig,
    RootConfig,
    RouteConfig,
    SleepConfig,
)
from hotseat.config.schema.service_levels import ServiceLevels
from hotseat.runtimes import registry

_KEYS: dict[str, type[BaseModel]] = {
    "gpu": GpuConfig,
    "sleep": SleepConfig,
    **{section.key: section.keys for section in registry.sections()},
    "system_prompt": SystemPromptConfig,
    "basic": BasicAuthConfig,
    "tls": TlsConfig,
    "slo": ServiceLevels,
}
_NAMED: dict[str, type[BaseModel]] = {"models": ModelConfig, "routes": RouteConfig, "keys": KeyConfig}
_PLACES = ("", "models.NAME", "routes.NAME", "keys.NAME", *_KEYS)
_MAX_ROUNDS = 50


def shaped(document: Document) -> RootConfig:
    """The data as its shape, less what is wrong with it, which goes into the document's problems."""
    data = document.data
    if not isinstance(data, dict):
        if () not in document.bad:
            document.problem(
                (),
                "the file is empty" if data is None else "expected keys with values (key: value lines)",
                'the least is: models: {chat: {command: [my-server, --port, "{port}"]}}',
            )
        return RootConfig()
    data = {key: value for key, value in data.items() if not key.startswith("x-")}
    for _ in range(_MAX_ROUNDS):
        try:
            return RootConfig.model_validate(data)
        except ValidationError as error:
            found = error.errors(include_url=False)
        for detail in found:
            path = _cut(data, detail["loc"])
            if path not in document.bad:
                _tell(document, path, detail)
    return RootConfig()


def _cut(data: dict[str, Any], loc: tuple[int | str, ...]) -> Path:
    """Take the value at ``loc`` (or what is around it) out of the data; returns its path."""
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


def _tell(document: Document, path: Path, detail: ErrorDetails) -> None:
    kind, fix = detail["type"], ""
    if kind == "extra_forbidden":
        message, fix = _unknown(path)
    elif detail["input"] is None:
        message, fix = "has no value", "give it one, or take the line out for the default"
    elif kind == "value_error":
        message = str(detail["ctx"]["error"])
    elif kind in ("model_type", "dict_type", "model_attributes_type"):
        message = "expected keys with values (key: value lines)"
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
            return "unknown key here", f"it belongs to {place or 'the top of the file'}"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return "unknown key", f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"


def keys_at(path: Path) -> list[str]:
    """The keys that may be written in the mapping of this path."""
    if not path:
        shape: type[BaseModel] = RootConfig
    elif path[0] in _NAMED and len(path) == 2:
        shape = _NAMED[path[0]]
    else:
        shape = _KEYS[str(path[-1])]
    shared = [key for key in shape.model_fields if key in PolicyConfig.model_fields]
    return [*(key for key in shape.model_fields if key not in shared), *shared]
