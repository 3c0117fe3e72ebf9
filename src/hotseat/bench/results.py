"""The file of results: JSON lines, only ever added to, so that an interrupted run spoils nothing.

A line is a result, or says which results were accepted (``{"kind": "accept", "ids": […]}``).
"""

from __future__ import annotations

import datetime
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

NAME = "bench.jsonl"
"""The file's name in ``state_dir``."""


class ResultsError(Exception):
    """The file cannot be read or written; which, where and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """One benchmark of one model."""

    kind: str
    """``start`` or ``throughput``."""
    model: str
    how: Mapping[str, Any]
    """What was asked for and what state was made: part of what makes two results comparable."""
    figures: Mapping[str, float]
    """By the names of ``figures.MEASURES``; seconds."""
    runs: Sequence[Mapping[str, Any]]
    """What each run took."""
    launch: Mapping[str, Any]
    """Runtime, image, command, machine and hotseat's version, as ``/admin/launch/{model}`` tells them."""
    complete: bool = True
    """All runs that were asked for are in it (it was not interrupted)."""
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    at: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))

    @property
    def series(self) -> str:
        """Results of one series can be compared: model, kind, how, and machine are the same.

        The host's name is not looked at: a launcher in a container has another one each time it is made.
        """
        machine = self.launch.get("machine") or {}
        same = {name: machine.get(name) for name in ("cpu", "cores", "gpus")}
        return json.dumps([self.kind, self.model, self.how, same], sort_keys=True)

    @property
    def title(self) -> str:
        """``coder, warm start``."""
        if self.kind == "start":
            return f"{self.model}, {self.how.get('state')} start"
        return f"{self.model}, {self.how.get('concurrency')} x {self.how.get('tokens')} tokens"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Raises ``ValueError`` for what is no result."""
        try:
            result = cls(**{one.name: data[one.name] for one in fields(cls)})
        except KeyError as error:
            raise ValueError(f"{error.args[0]!r} is missing") from None
        texts = (result.kind, result.model, result.id, result.at)
        mappings = (result.how, result.figures, result.launch)
        if not all(isinstance(one, str) for one in texts) or not all(isinstance(m, dict) for m in mappings):
            raise ValueError("a value is of the wrong kind")
        if not all(isinstance(value, int | float) for value in result.figures.values()):
            raise ValueError("a figure is no number")
        return result


@dataclass(frozen=True, slots=True)
class ResultsFile:
    """All that a file holds, oldest first."""

    all: Sequence[BenchResult]
    accepted: frozenset[str]
    """Ids."""

    def series(self) -> dict[str, list[BenchResult]]:
        """Complete results that can be compared with each other, oldest first."""
        found: dict[str, list[BenchResult]] = {}
        for one in self.all:
            if one.complete and one.figures:
                found.setdefault(one.series, []).append(one)
        return found

    def accepted_before(self, result: BenchResult) -> BenchResult | None:
        """The latest accepted one of its series, itself left out."""
        same = [one for one in self.series().get(result.series, []) if one.id != result.id]
        return next((one for one in reversed(same) if one.id in self.accepted), None)


def read(file: Path) -> ResultsFile:
    """Raises ``ResultsError``; a file that is not there holds nothing."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ResultsFile([], frozenset())
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{file}: {_words(error)}") from None
    found: list[BenchResult] = []
    accepted: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            if not isinstance(data, dict):
                raise ResultsError(f"{file}:{number}: this line is no result (no JSON object)")
            if data.get("kind") == "accept":
                accepted.update(str(one) for one in data.get("ids", ()))
            else:
                found.append(BenchResult.of(data))
        except ValueError as error:
            raise ResultsError(f"{file}:{number}: this line is no result ({_words(error)})") from None
    return ResultsFile(found, frozenset(accepted))


def add(file: Path, result: BenchResult) -> None:
    """Append it; on disk when this returns. Raises ``ResultsError``."""
    _append(file, result.as_dict())


def accept(file: Path, ids: Sequence[str]) -> None:
    """Note that these are good to compare with. Raises ``ResultsError``."""
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    _append(file, {"kind": "accept", "at": at, "ids": list(ids)})


def _append(file: Path, data: Mapping[str, Any]) -> None:
    line = json.dumps(data, separators=(",", ":")) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a", encoding="utf-8") as out:
            out.write(line)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise ResultsError(f"{file} cannot be written: {_words(error)}") from None


def _words(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
