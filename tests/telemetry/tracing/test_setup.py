"""When tracing is on, and what users are told if it is impossible."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hotseat import config
from hotseat.config import ConfigError, secret_values
from hotseat.telemetry.tracing.setup import CannotTrace, endpoint, open_tracer, wanted

HERE = "http://127.0.0.1:4318"
MODELS = "models: {chat: {command: [x, '{port}']}}\n"


@pytest.mark.parametrize(
    ("configured", "env", "on"),
    [
        (None, {}, False),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": HERE}, True),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": HERE}, True),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_TRACES_EXPORTER": "none"}, False),
        (False, {"OTEL_EXPORTER_OTLP_ENDPOINT": HERE}, False),
        (True, {}, True),
        (HERE, {}, True),
        (HERE, {"OTEL_SDK_DISABLED": "True"}, False),
    ],
)
def test_wanted(configured: bool | str | None, env: Mapping[str, str], on: bool) -> None:
    assert wanted(configured, env) is on


def test_a_collector_without_a_path_has_the_usual_one() -> None:
    assert endpoint(HERE) == endpoint(HERE + "/") == f"{HERE}/v1/traces"
    assert endpoint(f"{HERE}/otlp/v1/traces") == f"{HERE}/otlp/v1/traces"


def opened(configured: bool | str | None, **env: str) -> tuple[object, list[str]]:
    settings = config.loads(f"state_dir: /nowhere\n{MODELS}", "hotseat.yaml", {})
    settings = replace(settings, serve=replace(settings.serve, tracing=configured))
    troubles: list[str] = []
    made = open_tracer(settings, env, upstream=lambda model: None, redact=str, on_trouble=troubles.append)
    return made, troubles


def test_another_protocol() -> None:
    with pytest.raises(CannotTrace, match="OTLP/HTTP"):
        opened(True, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    made, [trouble] = opened(None, OTEL_EXPORTER_OTLP_ENDPOINT=HERE, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert made is None
    assert "grpc" in trouble


def test_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hotseat.telemetry.tracing.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    with pytest.raises(CannotTrace, match=r"install .*\[otel\]"):
        opened(HERE)
    made, [trouble] = opened(None, OTEL_EXPORTER_OTLP_ENDPOINT=HERE)
    assert made is None
    assert "[otel]" in trouble


def load(tmp_path: Path, value: str) -> Any:
    return config.loads(
        f"tracing: {value}\nstate_dir: {tmp_path}\n{MODELS}", "hotseat.yaml", {}
    ).serve.tracing


def test_the_key(tmp_path: Path) -> None:
    assert load(tmp_path, HERE) == HERE
    assert load(tmp_path, "on") is True
    assert load(tmp_path, "off") is False
    for wrong, words in (
        ("collector:4318", "true, false or a URL"),
        ("http://", "URL of a collector"),
        ("ftp://collector", "URL of a collector"),
        ("http://me:secret@collector", "OTEL_EXPORTER_OTLP_HEADERS"),
    ):
        with pytest.raises(ConfigError, match=words) as error:
            load(tmp_path, wrong)
        assert "me:secret" not in str(error.value)


def test_what_a_collector_is_told_is_secret(tmp_path: Path) -> None:
    env = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abc-123,x-tenant=mine,not-a-pair"}
    settings = config.loads(f"state_dir: {tmp_path}\n{MODELS}", "hotseat.yaml", env)
    assert {"Bearer abc-123", "Bearer%20abc-123", "mine", "not-a-pair"} <= secret_values(settings, env)
