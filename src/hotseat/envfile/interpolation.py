"""Replaces variables in text, in Compose's syntax.

``$NAME``, ``${NAME}``, ``${NAME:-default}``, ``${NAME-default}``, ``${NAME:?message}``,
``${NAME?message}``, ``${NAME:+instead}``, ``${NAME+instead}`` and ``$$``; the text after the
operator may contain variables. (Docker's documentation, "Interpolation".)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

_NAME = r"[_a-zA-Z][_a-zA-Z0-9]*"
_VARIABLE = re.compile(rf"\$(?:(\$)|({_NAME})|\{{(?:({_NAME}(?::?[-+?].*)?)\}}|))")
"""As Compose looks for them: ``.*`` is greedy and ends with the line, ``_closing`` finds the brace."""
_BRACED = re.compile(rf"({_NAME})(?:(:?)([-+?])(.*))?", re.DOTALL)

Lookup = Callable[[str], str | None]
"""The value of a variable; ``None`` if it is not set."""


class InterpolationError(ValueError):
    """Raised for a required variable that is not set, and for a ``${`` that is not closed."""


def interpolate(text: str, env: Mapping[str, str]) -> str:
    """Return the text with its variables replaced; one that is not set becomes empty.

    Raises ``InterpolationError``; its message holds the variable's name and never a value.
    """
    return substitute(text, env.get)


def substitute(text: str, lookup: Lookup) -> str:
    """As ``interpolate``, with a function that finds variables."""

    def replaced(match: re.Match[str]) -> str:
        dollar, name, braced = match.groups()
        if dollar:
            return "$"
        if name:
            return lookup(name) or ""
        if braced is None:
            raise InterpolationError(
                "a ${ has no } on its line, or what is between is no variable (write $$ for a dollar sign)"
            )
        end = _closing(match[0])
        inside, rest = match[0][2:end], match[0][end + 1 :]
        return _braced(inside, lookup) + substitute(rest, lookup)

    return _VARIABLE.sub(replaced, text)


def required(text: str) -> Iterator[str]:
    """Yield the names that a text requires with ``:?`` or ``?``, at any depth."""
    for match in re.finditer(r"\$\{([A-Za-z_][A-Za-z0-9_]*):?\?", text):
        if text[: match.start()][-1:] != "$":
            yield match[1]


def _closing(text: str) -> int:
    """The index of the brace that closes the first ``${``; the last character where none does."""
    depth = 0
    position = 0
    while position < len(text):
        if text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
        elif text.startswith("${", position):
            depth += 1
            position += 1
        position += 1
    return len(text) - 1


def _braced(inside: str, lookup: Lookup) -> str:
    match = _BRACED.fullmatch(inside)
    if match is None:
        raise InterpolationError("a ${ has no variable's name (write $$ for a dollar sign)")
    name, colon, operator, word = match.groups()
    value = lookup(name)
    given = bool(value) if colon else value is not None
    if operator == "+":
        return substitute(word, lookup) if given else ""
    if operator is None or given:
        return value or ""
    if operator == "?":
        raise InterpolationError(
            f"required variable {name} is not set: {substitute(word, lookup)}".rstrip(": ")
        )
    return substitute(word, lookup)
