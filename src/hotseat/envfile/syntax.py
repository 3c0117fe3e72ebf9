"""The syntax of ``.env`` files: parsed exactly as Compose does, changed line by line.

The rules are those of Compose's own parser, with its surprises: the statement after a closing quote may be
on the same line, ``#`` begins a comment only after a space, and ``NAME: value`` is an assignment, too.
``tests/envfile`` holds them against Compose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hotseat.envfile.interpolation import InterpolationError, substitute

_BLANK = "\t\v\f\r \x85\xa0"
"""Space within a line."""
_SPACE = _BLANK + "\n\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""Unicode's white space, as Go has it (Python's ``str.isspace`` counts four control characters more)."""
_ESCAPE = re.compile(r"\\(?:([abcfnrtv$\"\\])|0([0-9]{0,3}))")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPES |= {"$": "$$", '"': '"', "\\": "\\"}
_PLAIN = re.compile(r"[A-Za-z0-9_.:/+-]*")


class EnvFileError(ValueError):
    """Raised for a line that is not an assignment; the message has its number and never its value."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line


@dataclass(frozen=True, slots=True)
class _Statement:
    """One assignment, or a name alone, and where it stands in the text."""

    name: str
    value: str | None
    """As written, without quotes and comment; ``None`` for a name alone."""
    quote: str
    """``'``, ``"`` or nothing."""
    start: int
    end: int
    """Behind the value; a comment may follow."""


def parse(text: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a file sets.

    Values in single quotes are taken literally, those in double quotes may hold ``\\n`` and other escapes,
    and both kinds may span lines; in double quotes and without quotes, variables are replaced from
    ``env`` and from lines above. A name without ``=`` is taken from ``env``. Raises ``EnvFileError``.
    """
    values: dict[str, str] = {}

    def lookup(name: str) -> str | None:
        return env[name] if name in env else values.get(name)

    text = _without_mark(text)
    for one in _statements(text):
        if one.value is None:
            if one.name in env:
                values[one.name] = env[one.name]
            continue
        value = _unescaped(one.value) if one.quote == '"' else one.value
        if one.quote != "'":
            try:
                value = substitute(value, lookup)
            except InterpolationError as error:
                raise EnvFileError(_line_at(text, one.start), str(error)) from None
        values[one.name] = value
    values.pop("", None)  # what Compose makes of a last line that is no assignment
    return values


def assign(text: str, changes: Mapping[str, str | None]) -> str:
    """Return the text with some variables set (``None``: removed); every other line is unchanged.

    A value may hold letters, digits and ``_.:/+-`` only, so that no quoting is needed. Raises ``ValueError``,
    and ``EnvFileError`` for a file that Compose would not read.
    """
    for name, new in changes.items():
        if new is not None and not _PLAIN.fullmatch(new):
            raise ValueError(f"the value of {name} would need quotes")
    text = _without_mark(text)
    kept: list[str] = []
    position = 0
    written: set[str] = set()
    for one in _statements(text):
        if one.name not in changes:
            continue
        kept.append(text[position : one.start])
        new = changes[one.name]
        line_end = text.find("\n", one.end)
        line_end = len(text) if line_end < 0 else line_end
        rest = text[one.end : line_end].strip(_BLANK)
        position = line_end if not rest or rest.startswith("#") else one.end
        if new is not None and one.name not in written:
            written.add(one.name)
            kept.append(f"{one.name}={new}" + ("" if position == line_end else "\n"))
        elif position == line_end:
            position = min(line_end + 1, len(text))  # the line goes as a whole
    result = "".join(kept) + text[position:]
    if result and not result.endswith("\n"):
        result += "\n"
    missing = (f"{name}={new}\n" for name, new in changes.items() if new is not None and name not in written)
    return result + "".join(missing)


def _without_mark(text: str) -> str:
    return text.removeprefix("\ufeff")


def _statements(text: str) -> Iterator[_Statement]:
    """Raises ``EnvFileError``."""
    position = 0
    while True:
        while position < len(text) and text[position] in _SPACE:
            position += 1
        if position == len(text):
            return
        if text[position] == "#":
            end = text.find("\n", position)
            if end < 0:
                return
            position = end
            continue
        statement, position = _statement(text, position)
        yield statement


def _statement(text: str, start: int) -> tuple[_Statement, int]:
    """The statement at a position, and where the next one may begin."""
    begin = start
    if match := re.compile(r"export[\t\n\f\r ]+").match(text, start):
        begin = match.end()
    name, position, inherited = _name(text, begin)
    if inherited:
        return _Statement(name, None, "", start, position - 1), position
    while position < len(text) and text[position] in _BLANK:
        position += 1
    quote = text[position : position + 1]
    if quote in ("'", '"') and quote:
        value, end = _quoted(text, position, name)
        return _Statement(name, value, quote, start, end), end
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    value = text[position:end].partition(" #")[0].rstrip(_SPACE)
    return _Statement(name, value, "", start, end), min(end + 1, len(text))


def _name(text: str, start: int) -> tuple[str, int, bool]:
    """The name at a position, what follows its ``=``, and whether it stands alone."""
    for position in range(start, len(text)):
        letter = text[position]
        if letter in _BLANK or letter in "_.-[]":
            continue
        if letter in "=:\n":
            name = text[start:position].rstrip(_SPACE)
            if " " in name:
                raise EnvFileError(_line_at(text, start), "expected NAME=value; a name has no spaces")
            return name, position + 1, letter == "\n"
        if not letter.isalpha() and not letter.isnumeric():
            raise EnvFileError(_line_at(text, start), "expected NAME=value")
    if re.search(r"\S\s+\S", text[start:]):
        raise EnvFileError(_line_at(text, start), "expected NAME=value")
    return "", start, False  # Compose takes a name alone, without a line end, for a value without a name


def _quoted(text: str, start: int, name: str) -> tuple[str, int]:
    """The value in quotes at a position, and the position behind it."""
    quote = text[start]
    letters: list[str] = []
    escaped = False
    for position in range(start + 1, len(text)):
        letter = text[position]
        if letter == quote:
            if not escaped:
                return "".join(letters), position + 1
            escaped = False
        elif letter == "\\" and not escaped:
            escaped = True
            continue
        elif escaped:
            escaped = False
            letters.append("\\")
        letters.append(letter)
    raise EnvFileError(_line_at(text, start), f"the value of {name} has an opening quote and no closing one")


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    letter, octal = match.groups()
    if letter is not None:
        return _ESCAPES.get(letter, match[0])
    if len(octal) == 3 and all(digit < "8" for digit in octal) and int(octal, 8) < 256:
        return chr(int(octal, 8))
    return f"\\{octal}"  # as Compose does


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
