"""One short text that changes when a run would be started differently."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from hotseat.core.spec import LaunchSpec

_VERSION = "1"
"""Changed with the way it is made, so that prints of two ways are never taken for equal."""


def fingerprint(runtime: str, launch: LaunchSpec) -> str:
    """Of all that a run depends on. It is a hash: secrets of the environment cannot be read from it."""
    text = json.dumps([_VERSION, runtime, asdict(launch)], sort_keys=True, ensure_ascii=True)
    return f"{_VERSION}:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"
