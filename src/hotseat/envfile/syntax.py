"""The syntax of ``.env`` files: parsed as Compose does, changed line by line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hotseat.envfile.interpolation import InterpolationError, interpolate

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*(?:=[ \t]*(.*))?", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$", "'": "'"}


class EnvFileError(ValueError):
    """Raised for a line that is not an assignment; the message has its number and never its value."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line


def parse(text: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a file sets.

    Values in single quotes are taken literally, those in double quotes may hold ``\\n`` and other escapes,
    and both kinds may span lines; in double quotes and without quotes, variables are replaced from
    ``env`` and from lines above. A name without ``=`` is taken from ``env``. Raises ``EnvFileError``.
    """
    values: dict[str, str] = {}
    lines = text.lstrip("\ufeff").splitlines()
    number = 0
    while number < len(lines):
        first, line = number + 1, lines[number]
        number += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise EnvFileError(first, "expected NAME=value")
        name: str = match[1]
        rest: str | None = match[2]
        if rest is None:
            if name in env:
                values[name] = env[name]
            continue
        known = {**values, **env}
        quote = rest[:1]
        if quote in ("'", '"'):
            while (end := _end_of_quote(rest, quote)) is None:
                if number == len(lines):
                    raise EnvFileError(first, f"the value of {name} has an opening quote and no closing one")
                rest += "\n" + lines[number]
                number += 1
            tail = rest[end + 1 :].strip()
            if tail and not tail.startswith("#"):
                raise EnvFileError(first, f"text follows the closing quote of {name}")
            value = rest[1:end]
            if quote == '"':
                value = _filled(_unescaped(value), known, first)
        else:
            value = _filled(re.sub(r"(^|\s+)#.*", "", rest).strip(), known, first)
        values[name] = value
    return values


def assign(text: str, changes: Mapping[str, str | None]) -> str:
    """Return the text with some variables set (``None``: removed); every other line is unchanged.

    A value may hold letters, digits and ``_.:/+-`` only, so that no quoting is needed. Raises ``ValueError``.
    """
    for name, new in changes.items():
        if new is not None and not re.fullmatch(r"[A-Za-z0-9_.:/+-]*", new):
            raise ValueError(f"the value of {name} would need quotes")
    kept: list[str] = []
    written: set[str] = set()
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        name = match[1] if match and not line.lstrip().startswith("#") else ""
        if name not in changes:
            kept.append(line)
        elif (new := changes[name]) is not None and name not in written:
            written.add(name)
            kept.append(f"{name}={new}")
    kept += [f"{name}={new}" for name, new in changes.items() if new is not None and name not in written]
    return "\n".join(kept) + "\n"


def _end_of_quote(text: str, quote: str) -> int | None:
    position = 1
    while position < len(text):
        if quote == '"' and text[position] == "\\":
            position += 2
            continue
        if text[position] == quote:
            return position
        position += 1
    return None


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), text, flags=re.DOTALL)


def _filled(text: str, env: Mapping[str, str], line: int) -> str:
    try:
        return interpolate(text, env)
    except InterpolationError as error:
        raise EnvFileError(line, str(error)) from None
