"""The file of results: JSON lines, append-only, so that an interrupted run cannot damage earlier results.

A line is a result, or a list of accepted results (``{"kind": "accept", "ids": […]}``).
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
    """The file cannot be read or written; names file, line and reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """One benchmark of one model."""

    kind: str
    """``start`` or ``throughput``."""
    model: str
    how: Mapping[str, Any]
    """Parameters of the benchmark; only results with equal parameters are comparable."""
    figures: Mapping[str, float]
    """By the names of ``figures.FIGURES``; times are seconds."""
    runs: Sequence[Mapping[str, Any]]
    """Measurements of each run."""
    launch: Mapping[str, Any]
    """The response of ``/admin/launch/{model}``: runtime, image, command, machine, hotseat's version."""
    complete: bool = True
    """Contains all runs: the benchmark was not interrupted."""
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    at: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))

    @property
    def series(self) -> str:
        """Key of comparable results: the same model, kind, parameters and machine.

        The host's name does not count: a launcher in a container gets a new one with each container.
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
        """The line in the file."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Read a line of the file. Raises ``ValueError`` for what is not a result."""
        try:
            result = cls(**{one.name: data[one.name] for one in fields(cls)})
        except KeyError as error:
            raise ValueError(f"{error.args[0]!r} is missing") from None
        texts = (result.kind, result.model, result.id, result.at)
        mappings = (result.how, result.figures, result.launch)
        if not all(isinstance(one, str) for one in texts) or not all(isinstance(m, dict) for m in mappings):
            raise ValueError("a value has the wrong type")
        if not all(isinstance(value, int | float) for value in result.figures.values()):
            raise ValueError("a figure is not a number")
        return result


@dataclass(frozen=True, slots=True)
class ResultsFile:
    """The contents of a file, oldest first."""

    all: Sequence[BenchResult]
    accepted: frozenset[str]
    """Ids of accepted results."""

    def series(self) -> dict[str, list[BenchResult]]:
        """Complete results by series, oldest first."""
        found: dict[str, list[BenchResult]] = {}
        for one in self.all:
            if one.complete and one.figures:
                found.setdefault(one.series, []).append(one)
        return found

    def accepted_before(self, result: BenchResult) -> BenchResult | None:
        """The latest accepted result of the same series, other than ``result`` itself."""
        same = [one for one in self.series().get(result.series, []) if one.id != result.id]
        return next((one for one in reversed(same) if one.id in self.accepted), None)


def read(file: Path) -> ResultsFile:
    """Read a file; a missing file is empty. Raises ``ResultsError``."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ResultsFile([], frozenset())
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{file}: {_explain(error)}") from None
    found: list[BenchResult] = []
    accepted: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            if not isinstance(data, dict):
                raise ResultsError(f"{file}:{number}: this line is not a result (not a JSON object)")
            if data.get("kind") == "accept":
                accepted.update(str(one) for one in data.get("ids", ()))
            else:
                found.append(BenchResult.of(data))
        except ValueError as error:
            raise ResultsError(f"{file}:{number}: this line is not a result ({_explain(error)})") from None
    return ResultsFile(found, frozenset(accepted))


def add(file: Path, result: BenchResult) -> None:
    """Append a result; it is on disk when this returns. Raises ``ResultsError``."""
    _append(file, result.as_dict())


def accept(file: Path, ids: Sequence[str]) -> None:
    """Record that these results are accepted as baselines. Raises ``ResultsError``."""
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
        raise ResultsError(f"{file} cannot be written: {_explain(error)}") from None


def _explain(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
