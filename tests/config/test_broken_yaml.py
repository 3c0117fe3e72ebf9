"""Whatever is written, the answer is settings or a ``ConfigError`` with places: never another exception."""

from __future__ import annotations

import random
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hotseat.config import ConfigError, loads
from hotseat.config.schema.gpu import GpuConfig
from hotseat.config.schema.model import ModelConfig
from hotseat.config.schema.root import RootConfig
from hotseat.config.schema.route import RouteConfig
from hotseat.config.schema.sleep import SleepConfig
from hotseat.core.spec import Settings
from hotseat.runtimes.docker.keys import ComposeConfig

EXAMPLE = (Path(__file__).parents[2] / "examples" / "hotseat.yaml").read_text()
SHAPES = (ComposeConfig, GpuConfig, ModelConfig, RootConfig, RouteConfig, SleepConfig)
KEYS = st.sampled_from(sorted({key for shape in SHAPES for key in shape.model_fields})) | st.text(max_size=6)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        [
            "30m",
            "0.9",
            "auto",
            "{port}",
            "run {port}",
            "${A}",
            "${B:-1}",
            "/chat",
            "v1",
            "32MiB",
            "docker",
            "m",
        ]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
FILES = st.dictionaries(KEYS, VALUES, max_size=6) | st.fixed_dictionaries(
    {
        "models": st.dictionaries(
            st.sampled_from(["m", "a", "v1"]), st.dictionaries(KEYS, VALUES, max_size=6), max_size=2
        )
    },
    optional={"routes": VALUES, "gpu": VALUES, "sleep": VALUES, "compose": VALUES, "default_model": VALUES},
)


def tried(text: str) -> Settings | None:
    """The settings, or ``None`` after checking that what was raised can be read by a person."""
    found, raised = None, None
    try:
        found = loads(text, "f.yaml", {"A": "from-env", "HOME": "/h"})
    except ConfigError as error:
        raised = error
    if raised is not None:
        assert raised.problems
        assert str(raised)
        lines = len(text.splitlines()) + 2  # YAML knows more line breaks than one
        for problem in raised.problems:
            assert problem.file == "f.yaml"
            assert problem.message
            assert problem.line is None or 1 <= problem.line <= lines
    return found


@settings(max_examples=150, deadline=None)
@given(FILES)
def test_random_files(data: object) -> None:
    tried(yaml.safe_dump(data, allow_unicode=True))


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"#%@`,?\n\t ${}<~0.9\x00"), max_size=60))
def test_random_text(text: str) -> None:
    tried(text)


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_example_with_bites_taken_out(luck: random.Random) -> None:
    text = EXAMPLE
    for _ in range(luck.randint(1, 4)):
        at = luck.randrange(len(text))
        text = (
            text[:at]
            + luck.choice(["", ":", "[", "}", "  ", "\n", "x: ", "${", "'"])
            + text[at + luck.randint(0, 9) :]
        )
    tried(text)


def test_the_whole_example_is_right() -> None:
    assert tried(EXAMPLE) is not None
