"""Replaces variables in text, in Compose's syntax.

``$NAME``, ``${NAME}``, ``${NAME:-default}``, ``${NAME-default}``, ``${NAME:?message}``,
``${NAME?message}``, ``${NAME:+instead}``, ``${NAME+instead}`` and ``$$``; the text after the
operator may contain variables. (Docker's documentation, "Interpolation".)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")


class InterpolationError(ValueError):
    """Raised for a required variable that is not set, and for a ``${`` that is not closed."""


def interpolate(text: str, env: Mapping[str, str]) -> str:
    """Return the text with its variables replaced; one that is not set becomes empty.

    Raises ``InterpolationError``; its message holds the variable's name and never a value.
    """
    result: list[str] = []
    position = 0
    while (dollar := text.find("$", position)) >= 0:
        result.append(text[position:dollar])
        if text.startswith("$$", dollar):
            result.append("$")
            position = dollar + 2
        elif text.startswith("${", dollar):
            end = _closing(text, dollar)
            result.append(_braced(text[dollar + 2 : end], env))
            position = end + 1
        elif match := _NAME.match(text, dollar + 1):
            result.append(env.get(match[0], ""))
            position = match.end()
        else:
            result.append("$")
            position = dollar + 1
    result.append(text[position:])
    return "".join(result)


def required(text: str) -> Iterator[str]:
    """Yield the names that a text requires with ``:?`` or ``?``, at any depth."""
    for match in re.finditer(r"\$\{([A-Za-z_][A-Za-z0-9_]*):?\?", text):
        if text[: match.start()][-1:] != "$":
            yield match[1]


def _closing(text: str, start: int) -> int:
    depth = 0
    position = start
    while position < len(text):
        if text.startswith("$$", position):
            position += 2
            continue
        if text.startswith("${", position):
            depth += 1
            position += 2
            continue
        if text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    raise InterpolationError("a ${ has no } (write $$ for a dollar sign)")


def _braced(inside: str, env: Mapping[str, str]) -> str:
    match = _NAME.match(inside)
    if not match:
        raise InterpolationError("a ${ has no name (write $$ for a dollar sign)")
    name, rest = match[0], inside[match.end() :]
    value = env.get(name)
    if not rest:
        return value or ""
    operator = next((one for one in _OPERATORS if rest.startswith(one)), None)
    if operator is None:
        raise InterpolationError(f"${{{name}…}} is not a form of a variable that Compose knows")
    word = rest[len(operator) :]
    given = bool(value) if operator.startswith(":") else value is not None
    if operator.endswith("+"):
        return interpolate(word, env) if given else ""
    if given:
        return value or ""
    if operator.endswith("?"):
        raise InterpolationError(
            f"required variable {name} is not set: {interpolate(word, env)}".rstrip(": ")
        )
    return interpolate(word, env)
