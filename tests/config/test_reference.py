"""The published pages are those that the program would write now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hotseat.commands.reference import pages
from hotseat.config.reference import schema
from hotseat.config.schema.gpu import GpuConfig
from hotseat.config.schema.model import ModelConfig
from hotseat.config.schema.root import RootConfig
from hotseat.config.schema.route import RouteConfig
from hotseat.config.schema.sleep import SleepConfig
from hotseat.runtimes.docker.keys import ComposeConfig

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", pages())
def test_the_committed_pages_are_current(name: str) -> None:
    committed = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert committed == pages()[name], "write them anew: python -m hotseat.commands.reference docs/reference"


@pytest.mark.parametrize(
    "shape",
    [ComposeConfig, GpuConfig, ModelConfig, RootConfig, RouteConfig, SleepConfig],
    ids=lambda shape: shape.__name__,
)
def test_every_key_is_documented(shape: Any) -> None:
    page = pages()["config.md"]
    for key, field in shape.model_fields.items():
        assert field.description, key
        assert f"| `{key}` |" in page


def test_the_schema_knows_what_the_example_writes() -> None:
    whole = schema()
    unknown: list[str] = []

    def shape_of(prop: dict[str, Any]) -> dict[str, Any] | None:
        for one in (prop, *prop.get("anyOf", ())):
            if "$ref" in one:
                found = whole["$defs"][one["$ref"].rsplit("/", 1)[-1]]
                assert isinstance(found, dict)
                return found
        return None

    def look(value: Any, shape: dict[str, Any], at: str) -> None:
        for key, inner in value.items():
            prop = shape.get("properties", {}).get(key)
            if prop is None:
                unknown.append(f"{at}{key}")
            elif isinstance(inner, dict) and (named := prop.get("additionalProperties")) and "$ref" in named:
                for name, one in inner.items():
                    look(one, shape_of(named) or {}, f"{at}{key}.{name}.")
            elif isinstance(inner, dict) and (below := shape_of(prop)) is not None:
                look(inner, below, f"{at}{key}.")

    example = yaml.safe_load((ROOT / "examples" / "hotseat.yaml").read_text())
    look({key: value for key, value in example.items() if not key.startswith("x-")}, whole, "")
    assert unknown == []
    assert whole["additionalProperties"] is False
    assert whole["patternProperties"] == {"^x-": {}}
    assert json.dumps(whole)
