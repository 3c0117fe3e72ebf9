"""What a server's command says of itself."""

from __future__ import annotations

from collections.abc import Sequence

from hotseat.config import values


def utilization(command: Sequence[str]) -> int | None:
    """``--gpu-memory-utilization`` in parts per million; ``None`` where it is not there or not readable."""
    found = flag_values(command, "--gpu-memory-utilization")
    try:
        return values.positive_share(found[0]) if found else None
    except ValueError:
        return None


def served_names(command: Sequence[str]) -> tuple[str, ...]:
    """``--served-model-name``, else the model argument of ``vllm serve MODEL`` or ``--model``."""
    if found := flag_values(command, "--served-model-name"):
        return tuple(dict.fromkeys(found))
    if found := flag_values(command, "--model"):
        return found[:1]
    for index, word in enumerate(command[:-2]):
        is_vllm = word.rsplit("/", 1)[-1] == "vllm"
        if is_vllm and command[index + 1] == "serve" and not command[index + 2].startswith("-"):
            return (command[index + 2],)
    return ()


def flag_values(command: Sequence[str], flag: str) -> tuple[str, ...]:
    """The words after the last ``flag`` (``--flag a b`` or ``--flag=a``), up to the next flag."""
    found: tuple[str, ...] = ()
    spellings = {flag, flag.replace("-", "_").replace("__", "--", 1)}
    for index, word in enumerate(command):
        name, equals, value = word.partition("=")
        if name not in spellings:
            continue
        if equals:
            found = (value,)
            continue
        words = []
        for after in command[index + 1 :]:
            if after.startswith("-"):
                break
            words.append(after)
        found = tuple(words)
    return found
