"""Every parser, given anything that YAML can yield."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotseat import config_fields
from hotseat.config.parsers import (
    booleans,
    gpu,
    network,
    rate_limits,
    request_fields,
    secrets,
    sizes,
    times,
)
from hotseat.runtimes.process import keys as process_keys

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "parse",
    [
        times.duration,
        times.auto_duration,
        sizes.size,
        gpu.share,
        network.address,
        process_keys.command,
        process_keys.environment,
        config_fields.names,
        booleans.flag,
        config_fields.whole,
        config_fields.port,
        gpu.footprint,
        gpu.budgets,
        network.networks,
        network.origins,
        network.tracing,
        rate_limits.rate_limits,
        request_fields.fields,
        request_fields.bounds,
        secrets.secret,
        secrets.digest,
        times.moment,
        times.warm_spans,
    ],
    ids=lambda parse: parse.__name__,
)
@settings(max_examples=40)
@given(value=ANYTHING)
def test_bad_input_raises_nothing_but_value_error(parse: Callable[[object], Any], value: object) -> None:
    with contextlib.suppress(ValueError):
        parse(value)
