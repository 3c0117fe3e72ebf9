"""Reads YAML into plain data and keeps the position of every key for error messages.

Stricter and simpler than YAML 1.1: duplicate keys are refused, keys are always text, numbers keep
the digits that were written (``Decimal``), and there are no dates, octals or base-60 numbers.
``${VAR}`` and ``${VAR:-default}`` in values are replaced from the environment; ``$${`` means ``${``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import yaml

from hotseat.config.parsers.booleans import BOOLS
from hotseat.config.problems import ConfigProblem

Path = tuple[str | int, ...]

_INT = re.compile(r"0|-?[1-9][0-9]{0,17}")
_FLOAT = re.compile(r"-?[0-9]{1,18}\.[0-9]{1,18}")
_REFERENCE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?-)([^{}]*))?\}|(\$\{)")
MINIMAL_FILE = 'models: {chat: {command: [my-server, --port, "{port}"]}}'
_MAX_NODES = 20_000
_MAX_DEPTH = 60


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """The origin of a value: a line of a file, or a variable of the environment."""

    file: str
    line: int | None
    key: str | None = None
    """The name at that position if it is not the dotted key, such as a variable's."""


@dataclass(slots=True)
class Document:
    """Plain data (``dict``, ``list``, ``str``, ``int``, ``Decimal``, ``bool``, ``None``) with positions."""

    file: str
    data: Any = None
    positions: dict[Path, SourcePosition] = field(default_factory=dict)
    interpolated: set[Path] = field(default_factory=set)
    """Values that came from the environment and must not appear in messages."""
    variables: dict[Path, set[str]] = field(default_factory=dict)
    """The variables that a value was made of."""
    problems: list[ConfigProblem] = field(default_factory=list)
    bad: set[Path] = field(default_factory=set)
    """Values that have a problem, so that none is reported twice."""

    def position(self, path: Path) -> SourcePosition:
        """The position of the value at this path, or of the innermost value around it that has one."""
        for length in range(len(path), -1, -1):
            if (found := self.positions.get(path[:length])) is not None:
                return found
        return SourcePosition(self.file, None)

    def problem(self, path: Path, message: str, fix: str = "") -> None:
        """Record a problem with the value at this path."""
        position = self.position(path)
        self.bad.add(path)
        self.problems.append(
            ConfigProblem(position.file, position.line, position.key or dotted(path), message, fix)
        )

    def tainted(self, path: Path) -> bool:
        """Whether a value at or under this path has a problem, so that nothing may be concluded from it."""
        return () in self.bad or any(bad[: len(path)] == path for bad in self.bad)

    def shown(self, path: Path, text: str) -> str:
        """A value's text for a message; a value from the environment is not repeated."""
        if any(one[: len(path)] == path for one in self.interpolated):
            return "from ${…}"
        return text


def dotted(path: Path) -> str:
    """A path as text: ``models.chat.command[2]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def read(text: str, file: str, env: Mapping[str, str]) -> Document:
    """Read a YAML text. Never raises: problems are recorded in the document, the rest is read."""
    document = Document(file)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.positions[()] = SourcePosition(file, mark.line + 1 if mark else None)
        words = " ".join(part for part in (error.context, error.problem) if part)
        document.problem((), f"not valid YAML: {words}", _yaml_hint(words))
    except yaml.YAMLError as error:
        document.problem((), f"not valid YAML: {' '.join(str(error).split())}")
    except RecursionError:
        document.problem((), "nested too deeply")
    else:
        if root is not None:
            _Reader(document, env).read(root)
    return document


def _yaml_hint(words: str) -> str:
    if "'\\t'" in words:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in words:
        return "check the indentation, or put text that contains a colon in quotes"
    if "got '{'" in words:
        return 'put text that contains braces in quotes: "{port}"'
    return "check indentation and quotes near this line"


class _TooLarge(Exception):
    pass


class _Reader:
    """Turns YAML nodes into data and records their positions; used once."""

    def __init__(self, document: Document, env: Mapping[str, str]) -> None:
        self._document = document
        self._env = env
        self._left = _MAX_NODES  # nested aliases grow exponentially ("billion laughs")

    def read(self, root: yaml.Node) -> None:
        self._document.positions[()] = SourcePosition(self._document.file, root.start_mark.line + 1)
        try:
            self._document.data = self._value(root, (), ())
        except _TooLarge as error:
            self._document.problem((), str(error))

    def _value(self, node: yaml.Node, path: Path, above: tuple[yaml.Node, ...]) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _TooLarge(f"too large: more than {_MAX_NODES} values, counting those that aliases repeat")
        if any(node is one for one in above):
            self._document.problem(path, "contains an alias of itself")
            return None
        if len(above) > _MAX_DEPTH:
            raise _TooLarge("nested too deeply")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, (*above, node))
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, path, (*above, node))
        return self._scalar(node, path)

    def _sequence(self, node: yaml.SequenceNode, path: Path, above: tuple[yaml.Node, ...]) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            inner = (*path, index)
            self._document.positions[inner] = self._here(item)
            items.append(self._value(item, inner, above))
        return items

    def _mapping(self, node: yaml.MappingNode, path: Path, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._report(key_node, path, "keys must be text")
                continue
            key = str(key_node.value)
            inner = (*path, key)
            if key in result:
                first = self._document.positions[inner].line
                self._report(
                    key_node, inner, f"duplicate key (first on line {first})", "remove one of the two"
                )
                continue
            self._document.positions[inner] = self._here(key_node)
            result[key] = self._value(value_node, inner, above)
        for source in merged:
            if not isinstance(source, yaml.MappingNode):
                self._report(source, path, "<<: expects a mapping or a list of mappings")
            elif any(source is one for one in above):
                self._document.problem(path, "contains an alias of itself")
            else:
                self._merge(source, path, above, result)
        return result

    def _merge(
        self, source: yaml.MappingNode, path: Path, above: tuple[yaml.Node, ...], result: dict[str, Any]
    ) -> None:
        """Add the keys of a merged mapping that are not there yet."""
        before = dict(self._document.positions)
        taken = self._mapping(source, path, (*above, source))
        for key, value in taken.items():
            if key not in result:
                result[key] = value
        self._document.positions.update(before)

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        text: str = node.value
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        if node.tag.startswith("!"):
            self._report(node, path, "YAML tags are not supported", "remove the tag")
            return None
        replaced = self._interpolate(text, path)
        if replaced != text:
            self._document.interpolated.add(path)
            return replaced  # always text: a secret of digits alone is not a number
        return _resolve(text) if plain else text

    def _interpolate(self, text: str, path: Path) -> str:
        def replace(match: re.Match[str]) -> str:
            escaped, name, operator, default, broken = match.groups()
            if escaped:
                return "${"
            if broken:
                self._document.problem(
                    path,
                    "incomplete variable reference after ${",
                    "write ${NAME} or ${NAME:-default}; for a literal ${ write $${",
                )
                return ""
            self._document.variables.setdefault(path, set()).add(name)
            value = self._env.get(name)
            if value is None or (operator == ":-" and not value):
                if operator:
                    return str(default)
                self._document.problem(
                    path,
                    f"environment variable {name} is not set",
                    f"set it, or add a default: ${{{name}:-value}}",
                )
                return ""
            return value

        return _REFERENCE.sub(replace, text) if "${" in text else text

    def _here(self, node: yaml.Node) -> SourcePosition:
        return SourcePosition(self._document.file, node.start_mark.line + 1)

    def _report(self, node: yaml.Node, path: Path, message: str, fix: str = "") -> None:
        line = node.start_mark.line + 1
        self._document.bad.add(path)
        self._document.problems.append(ConfigProblem(self._document.file, line, dotted(path), message, fix))


def _resolve(text: str) -> Any:
    """The value of a plain (unquoted) scalar."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text.lower() in BOOLS:
        return BOOLS[text.lower()]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and str(number := Decimal(text)) == text:
        return number
    return text  # numbers in other spellings, too: keeps them exactly as written
