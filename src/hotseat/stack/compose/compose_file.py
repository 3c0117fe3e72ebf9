"""Reads Compose files as Compose would, and keeps the line of every value.

Lint findings need lines, which Compose's output lacks, and Compose may not be installed. Supported: several
files merged in order, ``extends`` (same file or another), anchors and merge keys, ``!reset`` and
``!override``, interpolation and ``.env``. Not supported: ``include`` (refused), ``env_file`` of services
(ignored), and Compose's checks of types and unknown keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hotseat.envfile.interpolation import InterpolationError, interpolate

Where = tuple[str, int]
"""A file and a line, counted from 1."""
Key = tuple[str | int, ...]

_REPLACED = {"command", "entrypoint", "test"}
"""Options whose lists are replaced by a later file; other lists are appended to."""
_MAPPINGS = {"environment", "labels", "extra_hosts", "sysctls", "args"}
"""Mappings that may also be written as lists of ``NAME=value``."""


class ComposeFileError(Exception):
    """A Compose file cannot be read: where, the reason, and what to do."""

    def __init__(self, message: str, where: Where | None = None) -> None:
        place = f"{where[0]}:{where[1]}: " if where else ""
        super().__init__(place + message)
        self.where = where


@dataclass(slots=True)
class ComposeText:
    """Merged Compose files: plain data, and where each value was written."""

    data: dict[str, Any]
    places: dict[Key, Where] = field(default_factory=dict)

    def where(self, key: Key) -> Where | None:
        """The file and line of a value, or of the innermost known value around it."""
        for length in range(len(key), 0, -1):
            if (place := self.places.get(key[:length])) is not None:
                return place
        return None

    def mapped(self, change: Callable[[str], str]) -> ComposeText:
        """A copy with every text value changed; mapping keys stay."""

        def walk(value: Any, key: Key) -> Any:
            if isinstance(value, dict):
                return {name: walk(inner, (*key, name)) for name, inner in value.items()}
            if isinstance(value, list):
                return [walk(inner, (*key, index)) for index, inner in enumerate(value)]
            if isinstance(value, str):
                try:
                    return change(value)
                except InterpolationError as error:
                    raise ComposeFileError(str(error), self.where(key)) from None
            return value

        return ComposeText(walk(self.data, ()), self.places)

    def filled(self, env: Mapping[str, str]) -> ComposeText:
        """A copy with variables replaced. Raises ``ComposeFileError``."""
        return self.mapped(lambda text: interpolate(text, env))


def read(files: list[Path], env: Mapping[str, str]) -> ComposeText:
    """Read and merge files in order; variables are not replaced (``env`` is used for ``extends`` only).

    Raises ``ComposeFileError``.
    """
    merged: dict[str, Any] = {}
    places: dict[Key, Where] = {}
    for file in files:
        reader = _Reader(str(file))
        data = reader.read(file)
        if "include" in data:
            raise ComposeFileError(
                "`include` is not supported without Compose; install Docker Compose v2 and try again",
                reader.places.get(("include",)),
            )
        _extend(data, reader.places, file, env)
        merged = _merge(merged, data, places, reader.places, ())
    return ComposeText(_plain(merged), places)


@dataclass(slots=True)
class _Marked:
    """A value tagged ``!override`` or ``!reset``."""

    value: Any
    reset: bool


class _Reader:
    """Turns one file's YAML nodes into data and records their positions."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.places: dict[Key, Where] = {}

    def read(self, path: Path) -> dict[str, Any]:
        try:
            root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except OSError as error:
            raise ComposeFileError(f"{self._name}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ComposeFileError(f"{self._name}: not UTF-8 text") from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            raise ComposeFileError(
                f"not valid YAML: {error.problem}", (self._name, mark.line + 1) if mark else None
            ) from None
        except yaml.YAMLError as error:
            raise ComposeFileError(f"{self._name}: not valid YAML: {error}") from None
        data = None if root is None else self._value(root, (), 0)
        if not isinstance(data, dict) or not isinstance(data.get("services"), dict):
            raise ComposeFileError("not a Compose file: `services:` is missing", (self._name, 1))
        return data

    def _value(self, node: yaml.Node, key: Key, depth: int) -> Any:
        where = (self._name, node.start_mark.line + 1)
        if depth > 60:
            raise ComposeFileError("nested too deeply, or contains an alias of itself", where)
        self.places.setdefault(key, where)
        if isinstance(node, yaml.MappingNode):
            value: Any = self._mapping(node, key, depth)
        elif isinstance(node, yaml.SequenceNode):
            value = [self._value(inner, (*key, index), depth + 1) for index, inner in enumerate(node.value)]
        else:
            value = _scalar(node)
        if node.tag in ("!override", "!reset"):
            return _Marked(value, node.tag == "!reset")
        return value

    def _mapping(self, node: yaml.MappingNode, key: Key, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for name_node, value_node in node.value:
            if name_node.tag == "tag:yaml.org,2002:merge":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            name = str(name_node.value)
            self.places[(*key, name)] = (self._name, name_node.start_mark.line + 1)
            result[name] = self._value(value_node, (*key, name), depth + 1)
        for source in merged:
            where = (self._name, source.start_mark.line + 1)
            if not isinstance(source, yaml.MappingNode):
                raise ComposeFileError("<<: expects a mapping", where)
            inner = _Reader(self._name)
            taken = inner._value(source, key, depth + 1)
            for name, value in taken.items():
                if name not in result:
                    result[name] = value
                    prefix = (*key, name)
                    self.places |= {k: w for k, w in inner.places.items() if k[: len(prefix)] == prefix}
        return result


def _scalar(node: yaml.Node) -> str | bool | None:
    text: str = node.value
    if node.tag == "tag:yaml.org,2002:null":
        return None
    if node.tag == "tag:yaml.org,2002:bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    return text  # numbers, too: keeps them exactly as written


def _extend(data: dict[str, Any], places: dict[Key, Where], file: Path, env: Mapping[str, str]) -> None:
    """Merge each service with the one that it extends, in place."""
    for name, service in data["services"].items():
        if isinstance(service, dict) and "extends" in service:
            data["services"][name] = _extended(data, places, file, env, name, ())


def _extended(
    data: dict[str, Any],
    places: dict[Key, Where],
    file: Path,
    env: Mapping[str, str],
    name: str,
    seen: tuple[Any, ...],
) -> Any:
    key: Key = ("services", name)
    service = data["services"].get(name)
    if not isinstance(service, dict) or "extends" not in service:
        return service
    where = places.get((*key, "extends"))
    if (file, name) in seen:
        raise ComposeFileError(f"service {name} extends itself", where)
    extends = service["extends"]
    wanted = extends if isinstance(extends, dict) else {"service": extends}
    base_name = interpolate(str(wanted.get("service")), env)
    base_file, base_data, base_places = file, data, places
    if wanted.get("file"):
        base_file = file.parent / interpolate(str(wanted["file"]), env)
        reader = _Reader(str(base_file))
        base_data, base_places = reader.read(base_file), reader.places
    if base_name not in base_data["services"]:
        raise ComposeFileError(f"service {name} extends {base_name}, which is not in {base_file}", where)
    base = _extended(base_data, base_places, base_file, env, base_name, (*seen, (file, name)))
    base_key: Key = ("services", base_name)
    moved = {(*key, *k[2:]): w for k, w in base_places.items() if k[:2] == base_key and len(k) > 2}
    own = {option: value for option, value in service.items() if option != "extends"}
    result = _merge(_plain(base), own, moved, places, key)
    for moved_key, moved_where in moved.items():
        places.setdefault(moved_key, moved_where)
    # Compose does not inherit profiles.
    if "profiles" not in own:
        result.pop("profiles", None)
    return result


def _merge(
    below: Any, above: Any, below_at: dict[Key, Where], above_at: Mapping[Key, Where], key: Key
) -> Any:
    """Merge ``above`` over ``below``; ``below_at`` is updated with the positions of the result."""
    if isinstance(above, _Marked):
        _forget(below_at, key)
        _adopt(below_at, above_at, key, key)
        return None if above.reset else _plain(above.value)
    name = key[-1] if key else None
    if name in _MAPPINGS:
        below, above = _as_mapping(below), _as_mapping(above)
    if isinstance(below, dict) and isinstance(above, dict):
        result = dict(below)
        for inner, value in above.items():
            if inner in below:
                result[inner] = _merge(below[inner], value, below_at, above_at, (*key, inner))
            else:
                result[inner] = value
                _adopt(below_at, above_at, (*key, inner), (*key, inner))
        return result
    if isinstance(below, list) and isinstance(above, list) and name not in _REPLACED:
        result_list = list(below)
        for index, value in enumerate(above):
            slot = next(
                (at for at, old in enumerate(result_list) if _target(name, old) == _target(name, value)),
                len(result_list),
            )
            result_list[slot : slot + 1] = [value]
            _forget(below_at, (*key, slot))
            _adopt(below_at, above_at, (*key, index), (*key, slot))
        return result_list
    _forget(below_at, key)
    _adopt(below_at, above_at, key, key)
    return above


def _target(option: str | int | None, value: Any) -> Any:
    """The identity of a list item: a later item with the same identity replaces it."""
    if option in ("volumes", "devices", "secrets", "configs"):
        if isinstance(value, dict):
            return value.get("target", repr(value))
        parts = str(value).split(":")
        return parts[1] if len(parts) > 1 else parts[0]
    return repr(value)


def _as_mapping(value: Any) -> Any:
    if isinstance(value, list):
        pairs = (str(item).partition("=") for item in value)
        return {name: word if sign else None for name, sign, word in pairs}
    return value


def _forget(places: dict[Key, Where], key: Key) -> None:
    for known in [one for one in places if one[: len(key)] == key]:
        del places[known]


def _adopt(places: dict[Key, Where], source: Mapping[Key, Where], old: Key, new: Key) -> None:
    for known, where in source.items():
        if known[: len(old)] == old:
            places[(*new, *known[len(old) :])] = where


def _plain(value: Any) -> Any:
    """Remove tags that have nothing below them to apply to."""
    if isinstance(value, _Marked):
        return None if value.reset else _plain(value.value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
