"""``hotseat init``: what it writes works at once, and nothing is overwritten."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fakes.engine import command as engine_command
from fakes.hotseat import Hotseat
from hotseat import config
from hotseat.cli import main
from hotseat.commands import init

CLEAN = ("HOTSEAT_", "VLLM_", "ADMIN_", "LISTEN", "COMPOSE_", "UPSTREAM_")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(CLEAN):
            monkeypatch.delenv(name)


def run(folder: Path, *words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, ["init", "--stack", str(folder), *words], input=typed)


def test_a_plain_folder_gets_a_configuration_that_is_valid_with_its_keys(tmp_path: Path) -> None:
    done = run(tmp_path, "--plain")
    assert done.exit_code == 0, done.output
    assert done.output.rstrip().endswith("hotseat serve")
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    checked = CliRunner().invoke(main, ["check-config", "-c", str(tmp_path / "hotseat.yaml")])
    assert checked.exit_code == 0, checked.output
    assert "Warning" not in checked.output
    env = {"HOTSEAT_ENV_FILE": str(tmp_path / ".env")}
    settings = config.load(tmp_path / "hotseat.yaml", env)
    assert [key.name for key in settings.auth.keys] == ["VLLM_API_KEY", "ADMIN_API_KEY"]
    assert settings.serve.default_route == "chat"


def test_the_printed_next_command_serves_with_the_keys(tmp_path: Path) -> None:
    assert run(tmp_path, "--plain").exit_code == 0
    written = (tmp_path / "hotseat.yaml").read_text()
    hotseat = Hotseat(tmp_path, {})
    line = next(one for one in written.splitlines() if one.startswith("    command:"))
    fake = "    command: [" + ", ".join(f"'{word}'" for word in engine_command(name="chat")) + "]"
    hotseat.file.write_text(written.replace(line, fake) + f"\nstate_dir: {tmp_path}/state\n")
    hotseat.start()
    try:
        keys = dict(
            one.split("=", 1)
            for one in (tmp_path / ".env").read_text().splitlines()
            if "=" in one and not one.startswith("#")
        )
        assert hotseat.send("GET", "/v1/models").status == 401
        sent = {"Authorization": f"Bearer {keys['VLLM_API_KEY']}"}
        assert hotseat.send("POST", "/v1/chat/completions", {"messages": []}, **sent).status == 200
        assert hotseat.send("GET", "/stats", **sent).status == 403
        sent = {"Authorization": f"Bearer {keys['ADMIN_API_KEY']}"}
        assert hotseat.send("GET", "/stats", **sent).status == 200
    finally:
        hotseat.stop()


def test_llama_cpp_is_offered_where_it_is_the_server_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "llama-server"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert run(tmp_path, "--plain").exit_code == 0
    settings = config.load(tmp_path / "hotseat.yaml", {"VLLM_API_KEY": "sk-0123456789"})
    launch = settings.models["chat"].launch.program
    assert launch is not None
    assert launch.command[0] == "llama-server"


def test_a_compose_folder_without_hotseat_yaml_gets_one_for_its_models(stack_copy: Path) -> None:
    (stack_copy / "hotseat.yaml").unlink()
    done = run(stack_copy)
    assert done.exit_code == 0, done.output
    assert "docker compose up -d launcher" in done.output
    settings = config.load(stack_copy / "hotseat.yaml", {"VLLM_API_KEY": "sk-0123456789"})
    assert {model.launch.container_name for model in settings.models.values()} == {
        "coder3b",
        "sitechat",
        "qwen7b-bnb4",
    }


@pytest.fixture
def stack_copy(tmp_path: Path) -> Path:
    import shutil

    source = Path(__file__).resolve().parents[2] / "deploy" / "compose"
    return Path(shutil.copytree(source, tmp_path / "llm", ignore=shutil.ignore_patterns(".env")))


def test_compose_without_a_compose_file_says_what_to_do(tmp_path: Path) -> None:
    done = run(tmp_path, "--compose")
    assert done.exit_code == 1
    assert "copy deploy/compose there, or use --plain" in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("typed", "status"), [("plain\n", 0), ("\n", 0), ("compose\n", 1)])
def test_on_a_terminal_it_asks(
    typed: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    class Sys:
        stdin = stdout = Terminal()

    monkeypatch.setattr(init, "sys", Sys)
    done = run(tmp_path, typed=typed)
    assert "plain processes, or as containers" in done.output
    assert done.exit_code == status
    assert (tmp_path / "hotseat.yaml").exists() == (status == 0)


def test_files_that_are_there_are_kept(tmp_path: Path) -> None:
    (tmp_path / "hotseat.yaml").write_text("models: {m: {command: 'run {port}'}}\n")
    assert run(tmp_path).exit_code == 0
    assert (tmp_path / "hotseat.yaml").read_text() == "models: {m: {command: 'run {port}'}}\n"
    before = (tmp_path / ".env").read_text()
    again = run(tmp_path)
    assert again.exit_code == 1
    assert "never overwritten" in again.output
    assert (tmp_path / ".env").read_text() == before
    (tmp_path / "hotseat.yaml").unlink()
    assert run(tmp_path, "--plain").exit_code == 0
    assert (tmp_path / ".env").read_text() == before
