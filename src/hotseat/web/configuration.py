"""The configuration's file as it may be shown: secrets are dots."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from hotseat.config.schema.keys import KeyConfig
from hotseat.logs import redact
from hotseat.secret_names import can_be_secret, is_secret_name

DOTS = "•••"
_HARMLESS = frozenset(KeyConfig.model_fields) - {
    name for name in KeyConfig.model_fields if is_secret_name(name)
}
"""Fields of a configured key that may be shown; they are below ``keys``, where everything else is hidden."""
_FLAG = re.compile(r"(--?[A-Za-z][\w-]*)([= ]+|['\"],\s*['\"])([^\s'\",\]]+)")
_USER_INFO = re.compile(r"(://)[^/\s@]+@")
_REFERENCE = re.compile(r"\$\{?\w+\}?|/[\w./-]+")
"""A value that only names where the secret is: a variable, a file."""


def without_secrets(text: str) -> str:
    """A YAML document with its secrets hidden, line by line as it was.

    A value is hidden if its key's name says that it is a secret (with all that it contains), if the log hides
    it, or if it is given to a flag with such a name. Raises ``yaml.YAMLError``: what cannot be read is not
    shown.
    """
    lines = text.split("\n")
    for start, end in sorted(_secret_spans(yaml.compose(text, Loader=yaml.SafeLoader)), reverse=True):
        (first, begin), (last, stop) = start, end
        lines[first : last + 1] = [lines[first][:begin] + DOTS + lines[last][stop:]]
        lines[first + 1 : first + 1] = [""] * (last - first)  # line numbers stay what they are
    return _USER_INFO.sub(rf"\1{DOTS}@", _FLAG.sub(_hide_flag, redact("\n".join(lines))))


def _hide_flag(found: re.Match[str]) -> str:
    if is_secret_name(found[1].lstrip("-")) and not _REFERENCE.fullmatch(found[3]):
        return f"{found[1]}{found[2]}{DOTS}"
    return found[0]


def _secret_spans(node: Any, secret: bool = False) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """The beginnings and ends of the secrets: lines and columns from 0."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            yield from _secret_spans(value, is_secret_name(name) or (secret and name not in _HARMLESS))
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _secret_spans(value, secret)
    elif secret and can_be_secret(node.value) and not _REFERENCE.fullmatch(node.value):
        start, end = node.start_mark, node.end_mark
        yield (start.line, start.column), (end.line, end.column)
