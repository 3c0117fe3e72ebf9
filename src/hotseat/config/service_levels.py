"""Reads only the service levels of a configuration file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from hotseat.config.document import Document, read
from hotseat.config.load import text_of_file
from hotseat.config.problems import ConfigError
from hotseat.config.schema.service_levels import ServiceLevels


def read_levels(
    path: str | os.PathLike[str], env: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Read ``slo`` from the top of a file and from each model; other keys are ignored.

    Accepts the configuration itself as well as a file with nothing but service levels. Raises
    ``ConfigError``.
    """
    file = os.fspath(path)
    document = read(text_of_file(file), file, env)
    data = document.data if isinstance(document.data, dict) else {}
    top = _levels(document, ("slo",), data.get("slo"))
    models: Any = data.get("models")
    own = {
        name: _levels(document, ("models", name, "slo"), model["slo"])
        for name, model in (models.items() if isinstance(models, dict) else ())
        if isinstance(model, dict) and "slo" in model
    }
    if not top and not any(own.values()) and not document.problems:
        document.problem((), "contains no service levels", "add slo: {start_p95: 120s, tokens_per_s: 40}")
    if document.problems:
        raise ConfigError(document.problems)
    return top, own


def _levels(document: Document, at: tuple[str, ...], data: Any) -> dict[str, float]:
    if data is None:
        return {}
    if not isinstance(data, dict):
        document.problem(at, "expected key: value lines")
        return {}
    try:
        found = ServiceLevels.model_validate(data)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            key = str(detail["loc"][0])
            if detail["type"] == "extra_forbidden":
                document.problem(
                    (*at, key), "unknown key", f"allowed keys: {', '.join(ServiceLevels.model_fields)}"
                )
            else:
                error_ = detail.get("ctx", {}).get("error")
                document.problem((*at, key), str(error_ or detail["msg"]))
        return {}
    return found.model_dump(exclude_none=True)
