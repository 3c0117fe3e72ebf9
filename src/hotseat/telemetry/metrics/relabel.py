"""Joins the metrics of the models' own servers, with a ``model`` label on each series."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SAMPLE = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]*)"
    r'(?:\{((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\})?'
    r"(\s+(?:[+-]?(?:\d[\d.eE+-]*|\.\d[\d.eE+-]*)|[+-]?Inf|NaN)(?:\s+-?\d+)?)\s*"
)
_COMMENT = re.compile(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*)(?: (.*))?")
_TAKEN = re.compile(r"(^|,)(\s*)model=")
_UP = "hotseat_model_metrics_up"
_UP_HELP = "1 if the model's server was ready and returned its own metrics, else 0."


def join(texts: Mapping[str, str | None]) -> str:
    """Join the metrics of all models; ``None`` stands for a server that was not ready or did not answer.

    Lines of a family are kept together, as the format requires; lines that are not metrics are dropped.
    """
    families: dict[str, _Family] = {}
    up = _Family(f"# HELP {_UP} {_UP_HELP}", f"# TYPE {_UP} gauge")
    families[_UP] = up
    for model, text in texts.items():
        label = f'model="{_escaped(model)}"'
        up.samples.append(f"{_UP}{{{label}}} {int(text is not None)}")
        if text is not None:
            _add(families, label, text)
    lines: list[str] = []
    for family in families.values():
        if family.samples:
            lines += [line for line in (family.help, family.type) if line]
            lines += family.samples
    return "\n".join(lines) + "\n"


class _Family:
    """The lines of one metric family."""

    __slots__ = ("help", "samples", "type")

    def __init__(self, help_line: str = "", type_line: str = "") -> None:
        self.help, self.type = help_line, type_line
        self.samples: list[str] = []


def _add(families: dict[str, _Family], label: str, text: str) -> None:
    current = ""
    for line in text.split("\n"):
        if line.startswith("#"):
            comment = _COMMENT.fullmatch(line.rstrip("\r"))
            if comment is None or comment[2] == _UP:
                continue
            current = comment[2]
            family = families.setdefault(current, _Family())
            if comment[1] == "HELP":
                family.help = family.help or comment[0]
            else:
                family.type = family.type or comment[0]
            continue
        sample = _SAMPLE.fullmatch(line.rstrip("\r"))
        if sample is None or sample[1] == _UP:
            continue
        name, labels, value = sample[1], sample[2], sample[3]
        owner = current if current and _belongs(name, current) else name
        own = f",{_renamed(labels)}" if labels and labels.strip() else ""
        families.setdefault(owner, _Family()).samples.append(f"{name}{{{label}{own}}}{value}")


def _belongs(name: str, family: str) -> bool:
    rest = name.removeprefix(family)
    return rest == "" or (rest != name and rest in _SUFFIXES)


_SUFFIXES = ("_bucket", "_count", "_sum", "_total", "_created", "_info")


def _renamed(labels: str) -> str:
    """Rename the server's own ``model`` label, as Prometheus does with labels that conflict."""
    pieces = re.split(r'("(?:[^"\\]|\\.)*")', labels.strip().rstrip(","))
    # Every other piece is a quoted value, in which nothing is a name.
    return "".join(
        _TAKEN.sub(r"\1\2exported_model=", piece) if n % 2 == 0 else piece for n, piece in enumerate(pieces)
    )


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
