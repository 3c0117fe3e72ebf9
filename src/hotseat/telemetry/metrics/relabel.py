"""Joins the metrics of the models' own servers, with a ``model`` label on each series."""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_LINE_LENGTH = 8192
"""Of one line of a server's exposition, in characters; a longer one is dropped."""
MAX_SAMPLES = 20_000
"""Of one server's exposition; what follows is dropped."""

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\[\\"n])*)"\s*(?:,|$)')
_SAMPLE = re.compile(
    rf"({_NAME})"
    r"(?:\{(.*)\})?"
    r"[ \t]+([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?Inf|NaN)([ \t]+-?\d{1,18})?[ \t]*"
)
_COMMENT = re.compile(rf"# (HELP|TYPE) ({_NAME})(?: (.*))?")
_TYPES = frozenset({"counter", "gauge", "histogram", "summary", "untyped"})
_OWN = "hotseat_"
"""Beginning of the names of hotseat's own metrics, which no server may write."""
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
    current, count = "", 0
    seen: set[tuple[str, frozenset[str]]] = set()
    for line in text.split("\n"):
        if len(line) > MAX_LINE_LENGTH:
            continue
        line = line.rstrip("\r")
        if line.startswith("#"):
            current = _add_comment(families, line) or current
            continue
        sample = _SAMPLE.fullmatch(line)
        if sample is None or sample[1].startswith(_OWN):
            continue
        name = sample[1]
        labels = _labels(sample[2] or "")
        if labels is None:
            continue
        series = (name, frozenset(labels))
        if series in seen:
            continue  # a series that comes twice spoils the whole page
        seen.add(series)
        count += 1
        if count > MAX_SAMPLES:
            return
        owner = current if current and _belongs(name, current) else name
        own = "".join(f",{one}" for one in labels)
        line = f"{name}{{{label}{own}}} {sample[3]}{sample[4] or ''}"
        families.setdefault(owner, _Family()).samples.append(line)


def _add_comment(families: dict[str, _Family], line: str) -> str | None:
    """Take a line of help or type, and return whose it is."""
    comment = _COMMENT.fullmatch(line)
    if comment is None or comment[2].startswith(_OWN):
        return None
    family = families.setdefault(comment[2], _Family())
    if comment[1] == "HELP":
        family.help = family.help or comment[0]
    elif comment[3] in _TYPES:
        family.type = family.type or comment[0]
    return comment[2]


def _labels(text: str) -> list[str] | None:
    """Return the labels, each as it is written, the server's own ``model`` renamed as Prometheus does it.

    ``None`` where they are malformed, or one comes twice: that would spoil the page for all models.
    """
    found: dict[str, str] = {}
    at = 0
    while at < len(text) and text[at:].strip():
        label = _LABEL.match(text, at)
        if label is None:
            return None
        name, at = label[1], label.end()
        if name == "model":
            name = "exported_model"
        if name in found or name == "__name__":
            return None
        found[name] = label[2]
    return [f'{name}="{value}"' for name, value in found.items()]


def _belongs(name: str, family: str) -> bool:
    rest = name.removeprefix(family)
    return rest == "" or (rest != name and rest in _SUFFIXES)


_SUFFIXES = ("_bucket", "_count", "_sum", "_total", "_created", "_info")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
