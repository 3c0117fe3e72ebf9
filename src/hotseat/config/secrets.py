"""The secrets of a configuration: logs redact them, and servers do not inherit them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from hotseat.config.document import Document, Path
from hotseat.core.spec import Settings
from hotseat.secret_names import can_be_secret, is_secret_name

_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
"""Headers sent to a trace collector: names and values, usually with a credential among them."""


INHERITED_KEYS = ("LLAMA_API_KEY",)
"""Variables of hotseat's own environment that servers inherit and take the key from that they ask for."""
_SECRET_SETTINGS = frozenset({"rate_store", "tracing"})
"""Keys of the file that hold a secret without being named like one: URLs with a password."""
_EQUAL_LENGTH, _CONTAINED_LENGTH = 4, 8
"""In characters, the shortest secrets that are looked for: a variable's whole value, and a part of it. A
shorter one would take harmless variables away."""


def one_of(server_keys: Sequence[str], default: str | None) -> str | None:
    """The key to send to a server that asks for one of these: the default where it is among them."""
    return default if not server_keys or default in server_keys else server_keys[0]


def withheld_variables(env: Mapping[str, str], secrets: frozenset[str], document: Document) -> frozenset[str]:
    """Names of the variables that the configuration uses as secrets, or whose values are or hold secrets.

    Not those that a model's own ``command`` and ``env`` name: they are that model's to have.
    """
    used = {name for path, names in document.variables.items() if _is_secret_setting(path) for name in names}
    known = [secret for secret in secrets if can_be_secret(secret)]
    whole = {secret for secret in known if len(secret) >= _EQUAL_LENGTH}
    parts = [secret for secret in known if len(secret) >= _CONTAINED_LENGTH]
    for name, value in env.items():
        if value in whole or any(part in value for part in parts):
            used.add(name)
    return frozenset(used)


def _is_secret_setting(path: Path) -> bool:
    if path[:1] == ("models",) and path[2:3] in (("command",), ("env",)):
        return False
    name = next((part for part in reversed(path) if isinstance(part, str)), "")
    return name in _SECRET_SETTINGS or is_secret_name(name)


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
