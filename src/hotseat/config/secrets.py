"""The secrets of a configuration, so that logs can redact them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from hotseat.core.spec import Settings
from hotseat.secret_names import is_secret_name

_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
"""Headers sent to a trace collector: names and values, usually with a credential among them."""


def secret_values(settings: Settings, env: Mapping[str, str]) -> frozenset[str]:
    """Clients' and models' keys, and the value of every variable, ours or a model's, with a secret's name."""
    found = {model.upstream_key or "" for model in settings.models.values()}
    variables = [env]
    variables += [model.launch.program.env for model in settings.models.values() if model.launch.program]
    for each in variables:
        found |= {value for name, value in each.items() if is_secret_name(name)}
        for name in _HEADERS:
            for pair in each.get(name, "").split(","):
                value = (pair.partition("=")[2] or pair).strip()
                found |= {value, unquote(value)}
    return frozenset(found | settings.secrets) - {""}
