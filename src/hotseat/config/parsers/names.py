"""Names and lists of names."""

from __future__ import annotations


def names(value: object) -> tuple[str, ...]:
    """Parse one name or a list of names; none empty, none repeated."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ValueError("expected a name or a list of names (put a name that is a number in quotes)")
    if not all(name.strip() and name.isprintable() for name in listed):
        raise ValueError("a name must not be empty or contain control characters")
    if len(set(listed)) != len(listed):
        raise ValueError("the same name appears twice")
    return tuple(listed)
