"""Flags that vLLM has removed, each with the first version known not to have it.

Taken from vLLM's releases: the argument parser of 0.32.0 was compared; bitsandbytes moved in 0.28.0 from
the core to the package vllm-bnb-plugin, so 0.27.1 is the last stock image that supports it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hotseat.stack.compose.model import ComposeService

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class RemovedFlag:
    """A flag, or one of its values, that vLLM no longer has."""

    flag: str
    value: str | None
    """The removed value; ``None`` if the flag itself was removed."""
    since: Version
    """The first version known to be without it."""
    instead: str
    """The remedy."""


_COMPARED: Version = (0, 32, 0)
REMOVED = (
    RemovedFlag(
        "--quantization",
        "bitsandbytes",
        (0, 28, 0),
        "use an image up to v0.27.1, or one with vllm-bnb-plugin",
    ),
    RemovedFlag(
        "--load-format",
        "bitsandbytes",
        (0, 28, 0),
        "use an image up to v0.27.1, or one with vllm-bnb-plugin",
    ),
    RemovedFlag(
        "--disable-log-requests", None, _COMPARED, "remove it; requests are no longer logged by default"
    ),
    RemovedFlag("--enable-reasoning", None, _COMPARED, "use --reasoning-parser alone"),
    RemovedFlag("--engine-use-ray", None, _COMPARED, "use --distributed-executor-backend ray"),
    RemovedFlag("--guided-decoding-backend", None, _COMPARED, "use --structured-outputs-config"),
    RemovedFlag("--max-context-len-to-capture", None, _COMPARED, "use --max-cudagraph-capture-size"),
    RemovedFlag("--max-seq-len-to-capture", None, _COMPARED, "use --max-cudagraph-capture-size"),
    RemovedFlag("--num-lookahead-slots", None, _COMPARED, "use --speculative-config"),
    RemovedFlag("--num-scheduler-steps", None, _COMPARED, "remove it"),
    RemovedFlag("--preemption-mode", None, _COMPARED, "remove it"),
    RemovedFlag("--rope-scaling", None, _COMPARED, "use --hf-overrides"),
    RemovedFlag("--rope-theta", None, _COMPARED, "use --hf-overrides"),
    RemovedFlag("--scheduler-delay-factor", None, _COMPARED, "remove it"),
    RemovedFlag("--speculative-model", None, _COMPARED, "use --speculative-config"),
    RemovedFlag("--swap-space", None, _COMPARED, "remove it"),
    RemovedFlag("--use-v2-block-manager", None, _COMPARED, "remove it"),
    RemovedFlag("--worker-use-ray", None, _COMPARED, "use --distributed-executor-backend ray"),
)


def version_of(image: str) -> Version | None:
    """The vLLM version in an image's tag (``vllm/vllm-openai:v0.27.1``); ``None`` if there is none."""
    name, _, tag = image.partition("@")[0].rpartition(":")
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", tag)
    if "vllm" not in name.rsplit("/", 1)[-1] or not match:
        return None
    return int(match[1]), int(match[2]), int(match[3])


def removed_flags(service: ComposeService) -> Iterator[tuple[RemovedFlag, Version]]:
    """Flags of a service that its image's vLLM version no longer has, with that version."""
    version = version_of(service.image)
    if version is None:
        return
    for entry in REMOVED:
        if version < entry.since or not service.has_flag(entry.flag):
            continue
        if entry.value is None or service.option(entry.flag) == entry.value:
            yield entry, version
