"""``hotseat clients``: what it prints is read by the programs' own schemas and parsers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from hotseat.cli import main

SCHEMAS = Path(__file__).parent / "schemas"
LIMIT_S = 300
MODELS = """\
listen: 127.0.0.1:8123
default_model: chat
gpu: {budget: 0.9}
models:
  chat: {command: "vllm serve x --port {port}", footprint: 0.9}
  coder: {command: "vllm serve y --port {port} --max-model-len 8192", footprint: 0.9, aliases: [code]}
"""
CASES = [[], ["--with-key"], ["--model", "chat"], ["--context", "4096"]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("clients") / "hotseat.yaml"
    file.write_text(MODELS)
    return file


def printed(config: Path, name: str, *words: str) -> str:
    env = {"VLLM_API_KEY": "sk-client-" + "1" * 32, "HOTSEAT_API_KEY": None}
    done = CliRunner(env=env).invoke(main, ["clients", name, "-c", str(config), *words])
    assert done.exit_code == 0, done.stderr
    return done.stdout


WRONG = {
    "continue": ("roles:", "rolls:"),
    "continue-json": ('"title"', '"titel"'),
    "opencode": ('"small_model"', '"tiny_model"'),
    "librechat": ("titleModel:", "titelModel:"),
}


@pytest.fixture(scope="module")
def found(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[str]]:
    """What the programs have against each case's file, by ``NAME-CASE``; against a wrong one, too."""
    folder = Path(shutil.copytree(SCHEMAS, tmp_path_factory.mktemp("npm") / "schemas"))
    run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    asked = []
    for name in WRONG:
        texts = {str(at): printed(config, name, *words) for at, words in enumerate(CASES)}
        for case, text in (texts | {"wrong": texts["0"].replace(*WRONG[name])}).items():
            file = folder / f"{name}-{case}"
            file.write_text(text)
            asked.append(f"{name}={file}")
    told = map(json.loads, run(folder, "node", "check.mjs", *asked).splitlines())
    return {Path(file).name: problems for file, problems in told}


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.system("node", "npm")
@pytest.mark.parametrize("name", WRONG)
def test_the_programs_own_schemas(name: str, found: Mapping[str, list[str]]) -> None:
    for case, words in enumerate(CASES):
        assert found[f"{name}-{case}"] == [], words


@pytest.mark.system("node", "npm")
@pytest.mark.parametrize("name", WRONG)
def test_they_would_notice(name: str, found: Mapping[str, list[str]]) -> None:
    told = " ".join(found[f"{name}-wrong"])
    assert any(word.strip('":') in told for word in WRONG[name])


@pytest.fixture
def aider(monkeypatch: pytest.MonkeyPatch) -> Any:
    """aider's own parser; of its coders, which need all the rest of it, only their names' list is wanted."""
    coders = types.ModuleType("aider.coders")
    coders.__dict__["__all__"] = []
    monkeypatch.setitem(sys.modules, "aider.coders", coders)
    import aider.args

    monkeypatch.setattr(aider, "coders", coders, raising=False)
    return aider.args


@pytest.mark.parametrize("words", CASES, ids=str)
def test_aiders_own_parser(
    config: Path, tmp_path: Path, aider: Any, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AIDER_MODEL", "OPENAI_API_KEY", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    text = printed(config, "aider", *words)
    file = tmp_path / "aider.conf.yml"
    file.write_text(text)
    found = aider.get_parser([str(file)], None).parse_args([])
    model = "openai/chat" if "chat" in words else "openai/coder"
    assert (found.model, found.weak_model, found.editor_model) == (model, "openai/current", model)
    assert found.openai_api_base == "http://127.0.0.1:8123/v1"
    assert found.timeout == 900.0
    assert found.show_model_warnings is False
    assert found.openai_api_key == yaml.safe_load(text).get("openai-api-key")


def test_aider_would_notice(tmp_path: Path, aider: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "aider.conf.yml"
    file.write_text("modell: x\n")
    with pytest.raises(SystemExit):
        aider.get_parser([str(file)], None).parse_args([])
    assert "modell" in capsys.readouterr().err
