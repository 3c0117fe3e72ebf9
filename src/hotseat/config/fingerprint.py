"""A short text that changes whenever a model would be started differently."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from hotseat.core.spec import LaunchSpec

_VERSION = "1"
"""Part of every fingerprint; changed with the algorithm, so that old ones never match new ones."""


def fingerprint(runtime: str, launch: LaunchSpec) -> str:
    """The fingerprint of a runtime and a launch. A hash, so that it does not reveal secrets in ``env``."""
    text = json.dumps([_VERSION, runtime, asdict(launch)], sort_keys=True, ensure_ascii=True)
    return f"{_VERSION}:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"
