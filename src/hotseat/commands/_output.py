"""Output of the commands: plain tables, single lines, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with columns two spaces apart; an empty cell is a dash, so that ``awk`` finds every column."""
    lines = [list(head), *([one_line(cell).strip() or "-" for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def one_line(text: str) -> str:
    """Text from elsewhere, without line breaks and control characters for the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text).rstrip()


def count(number: int, noun: str) -> str:
    """``1 request``, ``2 requests``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def echo_json(value: Any) -> None:
    """Print structs and plain values as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
