"""The same configuration file, for a launcher on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from hotseat.core.spec import ModelSpec
from hotseat.runtimes import registry
from hotseat.secret_names import is_secret_name
from hotseat.stack.kubernetes.manifests import LEASE
from hotseat.stack.kubernetes.models import ExportedModel, SecretVariables, secret_variable

_POOL = "gpus"
_LAUNCH_KEYS = {key for kind in registry.KINDS.values() for key in kind.model_keys.model_fields}
_MODEL_KEYS = {"runtime", "devices", "footprint", "sleep", "seed"}
"""What says how models share the GPUs of one machine, or fetch their files there."""
_TOP_KEYS = {"listen", "state_dir", "compose", "gpu", "sleep", "seed", "tls"}


def converted(
    text: str,
    models: Mapping[str, ModelSpec],
    exported: list[ExportedModel],
    gpus: int,
    secrets: SecretVariables,
) -> str:
    """Return the file with ``runtime: kubernetes`` where models were processes or containers.

    References to variables stay as they are, and secrets become such. Comments and anchors do not survive.
    """
    written: dict[str, Any] = yaml.safe_load(text) or {}
    names = {one.name: one for one in exported}
    kept = {
        key: value for key, value in written.items() if key not in _TOP_KEYS and not str(key).startswith("x-")
    }
    converted_models: dict[str, Any] = {}
    for name, model in (written.get("models") or {}).items():
        one = names.get(str(name))
        if one is None:
            converted_models[name] = model
            continue
        rest = {key: value for key, value in (model or {}).items() if key not in _LAUNCH_KEYS | _MODEL_KEYS}
        known = {"runtime": "kubernetes", "engine": models[one.name].engine}
        converted_models[name] = {**known, **rest, "footprint": {_POOL: one.gpus}}
    out = {
        "state_dir": "/var/lib/hotseat",
        "gpu": {"devices": {_POOL: gpus}},
        **{key: value for key, value in kept.items() if key != "models"},
        # A launcher that ends leaves the models to the next one.
        "on_exit": "leave",
        "lease": LEASE,
        "models": converted_models,
    }
    return yaml.safe_dump(_without_secrets(out, (), secrets), sort_keys=False, allow_unicode=True, width=110)


def _without_secrets(value: Any, path: tuple[str, ...], secrets: SecretVariables) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(one, (*path, str(key)), secrets) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_secrets(one, (*path, str(at)), secrets) for at, one in enumerate(value)]
    if not isinstance(value, str) or "${" in value or not value:
        return value
    key = path[-1] if not path[-1].isdecimal() or len(path) == 1 else path[-2]
    if secrets.knows(value) or is_secret_name(key):
        return "${" + secrets.variable(value, secret_variable(*path)) + "}"
    return value
