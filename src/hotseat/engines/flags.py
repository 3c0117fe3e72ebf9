"""Reads flags of a command: ``--a-flag value``, ``--a-flag=value``, ``--a_flag value``; the last one wins."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence

_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")
SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh"})


def script_of(command: Sequence[str]) -> str | None:
    """Return the script of ``sh -c SCRIPT``; ``None`` for any other command."""
    listed = list(command)
    if listed and os.path.basename(listed[0]) in SHELLS:
        for index, word in enumerate(listed[1:-1], start=1):
            if word.startswith("-") and not word.startswith("--") and word.endswith("c"):
                return listed[index + 1]
    return None


def words(command: Sequence[str]) -> list[str]:
    """Return the words of a command; for ``sh -c SCRIPT``, those of the script."""
    script = script_of(command)
    if script is None:
        return list(command)
    try:
        return shlex.split(script)
    except ValueError:
        return []


def expanded(command: Sequence[str], found: Sequence[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """Return values of flags as the command's shell has them: ``$NAME`` from ``env``.

    None, where the shell computes them. Without a shell they are what they are.
    """
    if script_of(command) is None:
        return tuple(found)
    replaced = [env.get(match[1], "") if (match := _VARIABLE.fullmatch(one)) else one for one in found]
    computed = any("$" in one or "`" in one for one in replaced)
    return () if computed else tuple(one for one in replaced if one)


def name_of(word: str) -> str | None:
    """Return ``--a-flag`` for ``--a_flag=1``; ``None``: not a flag."""
    if not word.startswith("-") or word in ("-", "--") or _is_number(word):
        return None
    return word.partition("=")[0].replace("_", "-")


def values(arguments: Sequence[str], *flags: str) -> list[str]:
    """Return all values of the last of these flags, up to the next flag; empty without such a flag."""
    found: list[str] = []
    taking = False
    for word in arguments:
        if (name := name_of(word)) is None:
            if taking:
                found.append(word)
            continue
        taking = name in flags
        if taking:
            _, equals, value = word.partition("=")
            found = [value] if equals else []
            taking = not equals
    return found


def value(arguments: Sequence[str], *flags: str) -> str | None:
    """Return the first value of the last of these flags; ``None``: there is none."""
    return next(iter(values(arguments, *flags)), None)


def number(arguments: Sequence[str], *flags: str) -> float | None:
    """Return the value of the last of these flags as a number; ``None``: missing, or not a number."""
    text = value(arguments, *flags)
    return float(text) if text is not None and _is_number(text) else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
