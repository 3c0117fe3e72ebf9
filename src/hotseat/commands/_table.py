"""Plain tables: columns apart by two spaces, readable by people and by ``awk``."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows under their heads; an empty cell is a dash, so that every row has every column."""
    lines = [list(head), *([one_line(cell).strip() or "-" for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def one_line(text: str) -> str:
    """Text from elsewhere, without what would break a line or speak to the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text).rstrip()
