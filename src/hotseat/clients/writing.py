"""Puts a program's configuration where the program reads it: merged into what is there, with a backup."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

Merge = Literal["replace", "json", "yaml", "toml"]
"""How a configuration is put into a file that is there already: instead of it, or key by key."""

_NAMES = ("name", "title", "model_id", "model_name")
"""Keys that tell which entries of two lists are the same."""


class CannotMerge(ValueError):
    """A file that is there cannot be read as its program would, so nothing may be written to it."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that a configuration was written to, and the copy of what it held."""

    path: Path
    backup: Path | None
    """The file as it was before; ``None``: there was none, or nothing has changed."""


def write(path: Path, text: str, merge: Merge) -> WrittenFile:
    """Write a configuration, readable by its owner alone where it is new; keeps what else the file holds.

    Raises ``CannotMerge`` and ``OSError``; the file is then as it was.
    """
    before = path.read_text("utf-8") if path.exists() else None
    whole = text if before is None or not before.strip() else merged(before, text, merge)
    if whole == before:
        return WrittenFile(path, None)
    path.parent.mkdir(parents=True, exist_ok=True)
    backup = None
    mode = 0o600
    if before is not None:
        backup = _backup_of(path)
        mode = path.stat().st_mode & 0o777
        _create(backup, before, mode)
    target = path.resolve()  # a link, as dotfiles often are, stays one
    temporary = target.with_name(f".{target.name}.hotseat")
    temporary.unlink(missing_ok=True)
    _create(temporary, whole, mode)
    temporary.replace(target)
    return WrittenFile(path, backup)


def merged(before: str, text: str, merge: Merge) -> str:
    """Return what is there with the configuration put into it. Raises ``CannotMerge``."""
    match merge:
        case "replace":
            return text
        case "json":
            try:
                found = json.loads(before)
            except ValueError as error:
                raise CannotMerge(f"it is not plain JSON ({error})") from None
            return json.dumps(_merge(found, json.loads(text)), indent=2, ensure_ascii=False) + "\n"
        case "yaml":
            try:
                found = yaml.safe_load(before)
            except yaml.YAMLError as error:
                raise CannotMerge(f"it is not YAML ({str(error).splitlines()[0]})") from None
            whole = _merge(found, yaml.safe_load(text)) if found is not None else yaml.safe_load(text)
            comments = "".join(line + "\n" for line in text.splitlines() if line.startswith("#"))
            return comments + yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=1000)
        case "toml":
            return _merged_toml(before, text)


def _merge(old: Any, new: Any) -> Any:
    """Merge mappings key by key and lists of named entries name by name; all else is replaced."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {
            **old,
            **{key: _merge(old[key], value) if key in old else value for key, value in new.items()},
        }
    if isinstance(old, list) and isinstance(new, list):
        named = {_name(entry): entry for entry in new}
        if None not in named:
            known = {_name(entry) for entry in old}
            kept = [named.get(_name(entry), entry) for entry in old]
            return [*kept, *(entry for name, entry in named.items() if name not in known)]
    if type(old) is not type(new) and isinstance(old, dict | list):
        raise CannotMerge("it holds something else where the configuration belongs")
    return new


def _name(entry: Any) -> str | None:
    if not isinstance(entry, Mapping):
        return None
    return next((str(entry[key]) for key in _NAMES if key in entry), None)


_TABLE = re.compile(r"^\s*\[")


def _merged_toml(before: str, text: str) -> str:
    """Replace the keys at the top and the tables that the text has, and leave every other line as it is.

    The result is read again, and refused where anything else has changed.
    """
    try:
        old, new = tomllib.loads(before), tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CannotMerge(f"it is not TOML ({error})") from None
    top, tables = _split_toml(text)
    old_top, old_tables = _split_toml(before)
    keys = {key for key, value in new.items() if not isinstance(value, dict)}
    kept = [line for line in old_top if line.partition("=")[0].strip().strip("\"'") not in keys]
    names = {lines[0].strip() for lines in tables}
    rest = [lines for lines in old_tables if lines[0].strip() not in names]
    whole = "\n".join([*_trimmed(top), *_trimmed(kept), ""])
    whole += "".join("\n" + "\n".join(_trimmed(lines)) + "\n" for lines in [*rest, *tables])
    try:
        if tomllib.loads(whole) != _merge_tables(old, new):
            raise CannotMerge("its keys are written in a way that cannot be changed line by line")
    except tomllib.TOMLDecodeError:
        raise CannotMerge("its keys are written in a way that cannot be changed line by line") from None
    return whole


def _split_toml(text: str) -> tuple[list[str], list[list[str]]]:
    """The lines before the first table, and those of each table."""
    top: list[str] = []
    tables: list[list[str]] = []
    for line in text.splitlines():
        if _TABLE.match(line):
            tables.append([])
        (tables[-1] if tables else top).append(line)
    return top, tables


def _merge_tables(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return what a merged file must say: the new values at the top, and the new tables as a whole."""
    whole = dict(old)
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            whole[key] = {**old[key], **value}
        else:
            whole[key] = value
    return whole


def _trimmed(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def _backup_of(path: Path) -> Path:
    """The first free name for a backup beside the file."""
    backup = path.with_name(f"{path.name}.bak")
    number = 1
    while backup.exists():
        number += 1
        backup = path.with_name(f"{path.name}.bak{number}")
    return backup


def _create(path: Path, text: str, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
