"""Flags that vLLM had once: from which version on they are known to be gone.

Read from vLLM's releases: the flags of 0.32.0 are what its argument parser knows; bitsandbytes left
the core in 0.28.0 for the package vllm-bnb-plugin (0.27.1 is the last stock image that takes it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hotseat.stack.compose.model import ComposeService

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class RemovedFlag:
    """A flag, or one value of it, that a version no longer takes."""

    flag: str
    value: str | None
    """Only this value is gone; ``None``: the flag is."""
    since: Version
    """The first version known not to have it."""
    instead: str
    """What to do."""


_SEEN: Version = (0, 32, 0)
GONE = (
    RemovedFlag(
        "--quantization",
        "bitsandbytes",
        (0, 28, 0),
        "use an image of at most v0.27.1, or one with vllm-bnb-plugin",
    ),
    RemovedFlag(
        "--load-format",
        "bitsandbytes",
        (0, 28, 0),
        "use an image of at most v0.27.1, or one with vllm-bnb-plugin",
    ),
    RemovedFlag(
        "--disable-log-requests", None, _SEEN, "leave it out: requests are not logged unless asked for"
    ),
    RemovedFlag("--enable-reasoning", None, _SEEN, "use --reasoning-parser alone"),
    RemovedFlag("--engine-use-ray", None, _SEEN, "use --distributed-executor-backend ray"),
    RemovedFlag("--guided-decoding-backend", None, _SEEN, "use --structured-outputs-config"),
    RemovedFlag("--max-context-len-to-capture", None, _SEEN, "use --max-cudagraph-capture-size"),
    RemovedFlag("--max-seq-len-to-capture", None, _SEEN, "use --max-cudagraph-capture-size"),
    RemovedFlag("--num-lookahead-slots", None, _SEEN, "use --speculative-config"),
    RemovedFlag("--num-scheduler-steps", None, _SEEN, "leave it out"),
    RemovedFlag("--preemption-mode", None, _SEEN, "leave it out"),
    RemovedFlag("--rope-scaling", None, _SEEN, "use --hf-overrides"),
    RemovedFlag("--rope-theta", None, _SEEN, "use --hf-overrides"),
    RemovedFlag("--scheduler-delay-factor", None, _SEEN, "leave it out"),
    RemovedFlag("--speculative-model", None, _SEEN, "use --speculative-config"),
    RemovedFlag("--swap-space", None, _SEEN, "leave it out"),
    RemovedFlag("--use-v2-block-manager", None, _SEEN, "leave it out"),
    RemovedFlag("--worker-use-ray", None, _SEEN, "use --distributed-executor-backend ray"),
)


def version_of(image: str) -> Version | None:
    """The vLLM version that an image's tag names (``vllm/vllm-openai:v0.27.1``), if it does."""
    name, _, tag = image.partition("@")[0].rpartition(":")
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", tag)
    if "vllm" not in name.rsplit("/", 1)[-1] or not match:
        return None
    return int(match[1]), int(match[2]), int(match[3])


def gone(service: ComposeService) -> Iterator[tuple[RemovedFlag, Version]]:
    """The flags of a service that its image's version no longer has."""
    version = version_of(service.image)
    if version is None:
        return
    for entry in GONE:
        if version < entry.since or not service.has_flag(entry.flag):
            continue
        if entry.value is None or service.option(entry.flag) == entry.value:
            yield entry, version
