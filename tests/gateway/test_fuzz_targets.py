"""The targets of ``make fuzz`` hold for their own seeds, for what fuzzing found, and for bytes at random."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
from fuzz.__main__ import MAX_BYTES, TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

MODULES = {name: importlib.import_module(f"fuzz.{name}") for name in TARGETS}


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    target = MODULES[name]
    for seed in target.SEEDS:
        assert len(seed) <= MAX_BYTES
        target.one(seed)


def mixed(target: ModuleType) -> st.SearchStrategy[bytes]:
    """Seeds cut and joined, words of the target, and bytes."""
    pieces = st.one_of(
        st.sampled_from(target.WORDS),
        st.binary(max_size=4),
        st.tuples(st.sampled_from(target.SEEDS), st.integers(0, 200), st.integers(0, 200)).map(
            lambda cut: cut[0][cut[1] : cut[1] + cut[2]]
        ),
    )
    first = st.sampled_from(target.SEEDS)
    joined = st.lists(pieces, max_size=8).map(b"".join)
    return st.tuples(st.integers(0, 7), first, joined).map(lambda t: bytes([t[0]]) + t[1][1:] + t[2]) | joined


@pytest.mark.parametrize("name", TARGETS)
def test_mixtures(name: str) -> None:
    target = MODULES[name]

    @settings(max_examples=150, deadline=None)
    @given(mixed(target))
    def holds(data: bytes) -> None:
        target.one(data)

    holds()
