"""The secrets that a configuration knows, so that the log can hide them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from hotseat.core.spec import ProcessSpec, Settings
from hotseat.secret_names import is_secret_name

_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
"""What a collector of traces is told: names and values, and a credential among them as a rule."""


def secret_values(settings: Settings, env: Mapping[str, str]) -> frozenset[str]:
    """Clients' and models' keys, and every variable (ours or a model's) whose name says it is a secret."""
    found = {model.upstream_key or "" for model in settings.models.values()}
    variables = [env]
    variables += [m.launch.env for m in settings.models.values() if isinstance(m.launch, ProcessSpec)]
    for each in variables:
        found |= {value for name, value in each.items() if is_secret_name(name)}
        for name in _HEADERS:
            for pair in each.get(name, "").split(","):
                value = (pair.partition("=")[2] or pair).strip()
                found |= {value, unquote(value)}
    return frozenset(found | settings.secrets) - {""}
