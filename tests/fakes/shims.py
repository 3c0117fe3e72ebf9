"""Programs for PATH that write down how they were called, and answer what a test says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

_SCRIPT = """\
#!{python}
import json, os, sys
with open({record!r}, "a") as record:
    record.write(json.dumps({{"name": {name!r}, "args": sys.argv[1:], "cwd": os.getcwd()}}) + "\\n")
answers = {answers!r}
status, text = next(
    (answer for words, answer in answers if words in " ".join(sys.argv[1:])), (0, "")
)
if isinstance(text, dict):
    os.execv(text["program"], [text["program"], *sys.argv[1 + text["drop"]:]])
(sys.stderr if status else sys.stdout).write(text)
sys.exit(status)
"""


class Shims:
    """A folder of them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._record = folder / "calls.jsonl"

    def add(
        self,
        name: str,
        answers: dict[str, tuple[int, str]] | None = None,
        forward: tuple[str, Path, int] | None = None,
    ) -> None:
        """A program that ends with the status and text of the first words that its arguments hold.

        ``forward`` is words, a program and a count: calls with these words go on to the program, less
        so many of the first arguments.
        """
        listed: list[tuple[str, tuple[int, object]]] = [*(answers or {}).items()]
        if forward:
            words, program, drop = forward
            listed.append((words, (0, {"program": str(program), "drop": drop})))
        script = _SCRIPT.format(
            python=sys.executable,
            record=str(self._record),
            name=name,
            answers=listed,
        )
        path = self.folder / name
        path.write_text(script, encoding="utf-8")
        path.chmod(0o755)

    def calls(self, name: str) -> list[list[str]]:
        """The arguments of every call, in order."""
        return [one["args"] for one in self._all() if one["name"] == name]

    def folders(self, name: str) -> set[str]:
        """Where it was called."""
        return {one["cwd"] for one in self._all() if one["name"] == name}

    def _all(self) -> list[dict[str, object]]:
        if not self._record.exists():
            return []
        return [json.loads(line) for line in self._record.read_text(encoding="utf-8").splitlines()]
