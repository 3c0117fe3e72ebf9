"""switch.sh, ``hotseat switch``, the make targets and the systemd unit: the Compose commands they run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from fakes.compose_binary import compose_binary
from fakes.shims import Shims
from hotseat.cli import main

ROOT = Path(__file__).resolve().parents[2]
CASES = {
    "coder": (["qwen7b-bnb4", "sitechat"], "coder3b"),
    "chat": (["coder3b", "qwen7b-bnb4"], "chat"),
    "q7b": (["coder3b", "sitechat"], "qwen7b"),
}
COMPOSE = {"compose version": (0, "2.40.3")}
READS = ("config --format json", compose_binary(), 1)
"""The real Compose reads the files."""


@pytest.fixture
def shims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shims:
    """A ``docker`` with a Compose plugin that does nothing but remember."""
    shims = Shims(tmp_path / "shims")
    shims.add("docker", COMPOSE, READS)
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "sh", "dirname", "make", "env"):
        found = shutil.which(tool)
        assert found
        (tools / tool).symlink_to(found)
    monkeypatch.setenv("PATH", f"{shims.folder}:{tools}")
    return shims


def asked(shims: Shims) -> list[list[str]]:
    """The Compose commands, with what is stopped in one order."""
    calls = [call[1:] for call in shims.calls("docker") if call[0] == "compose"]
    acts = [call for call in calls if call[0] != "version" and "config" not in call]
    return [["stop", *sorted(call[1:])] if call[0] == "stop" else call for call in acts]


def expected(name: str) -> list[list[str]]:
    others, profile = CASES[name]
    return [["stop", *others], ["--profile", "launcher", "--profile", profile, "up", "-d"]]


@pytest.mark.parametrize("name", CASES)
def test_the_script_stops_the_others_first(name: str, stack_folder: Path, shims: Shims) -> None:
    subprocess.run([stack_folder / "switch.sh", name], check=True, cwd="/", timeout=60)
    assert asked(shims) == expected(name)
    assert shims.folders("docker") == {str(stack_folder)}


@pytest.mark.parametrize("words", [[], ["llama"]])
def test_the_script_says_how_it_is_used(words: list[str], stack_folder: Path, shims: Shims) -> None:
    done = subprocess.run([stack_folder / "switch.sh", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "{coder|chat|q7b}" in done.stderr
    assert asked(shims) == []


def test_the_script_does_not_start_what_others_leave_no_room_for(stack_folder: Path, shims: Shims) -> None:
    shims.add("docker", {"compose stop": (1, "daemon is down")})
    done = subprocess.run([stack_folder / "switch.sh", "chat"], capture_output=True, timeout=60)
    assert done.returncode == 1
    assert len(asked(shims)) == 1


@pytest.mark.parametrize("name", CASES)
def test_the_make_targets_are_the_script(name: str, stack_folder: Path, shims: Shims) -> None:
    makefile = stack_folder.parent / "Makefile"
    makefile.write_text("-include llm/targets.mk\n", encoding="utf-8")
    subprocess.run(["make", f"up-{name}"], check=True, cwd=stack_folder.parent, timeout=60, env=quiet())
    assert asked(shims) == expected(name)
    assert shims.folders("docker") == {str(stack_folder)}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("logs", ["logs", "-f", "launcher"]),
        ("down", ["--profile", "*", "down"]),
        ("ps", ["--profile", "*", "ps", "--all"]),
    ],
)
def test_the_other_make_targets(target: str, words: list[str], stack_folder: Path, shims: Shims) -> None:
    makefile = stack_folder.parent / "Makefile"
    makefile.write_text("-include llm/targets.mk\n", encoding="utf-8")
    subprocess.run(["make", target], check=True, cwd=stack_folder.parent, timeout=60, env=quiet())
    assert asked(shims) == [words]
    assert shims.folders("docker") == {str(stack_folder)}


def quiet() -> dict[str, str]:
    """Without what a make around us says to makes within."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


def test_the_projects_makefile_takes_them_in() -> None:
    assert "-include deploy/compose/targets.mk" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_hotseat_switch_does_the_same(name: str, stack_folder: Path, shims: Shims) -> None:
    done = CliRunner().invoke(main, ["switch", name, "--stack", str(stack_folder)])
    assert done.exit_code == 0, done.output
    assert asked(shims) == expected(name)
    assert shims.folders("docker") >= {str(stack_folder)}


@pytest.mark.parametrize("name", ["qwen7b", "qwen7b-bnb4", "q7b"])
def test_a_model_has_several_names(name: str, stack_folder: Path, shims: Shims) -> None:
    done = CliRunner().invoke(main, ["switch", name, "--stack", str(stack_folder)])
    assert done.exit_code == 0, done.output
    assert asked(shims) == expected("q7b")


def test_an_unknown_name_is_answered_with_the_known_ones(stack_folder: Path, shims: Shims) -> None:
    done = CliRunner().invoke(main, ["switch", "llama", "--stack", str(stack_folder)])
    assert done.exit_code == 2
    assert "chat, coder, qwen7b" in done.output
    assert asked(shims) == []


def test_a_failed_stop_starts_nothing_and_gives_its_status(stack_folder: Path, shims: Shims) -> None:
    shims.add("docker", {**COMPOSE, "compose stop": (17, "no")}, READS)
    done = CliRunner().invoke(main, ["switch", "chat", "--stack", str(stack_folder)])
    assert done.exit_code == 17
    assert len(asked(shims)) == 1


def test_a_dry_run_runs_nothing(stack_folder: Path, shims: Shims) -> None:
    done = CliRunner().invoke(main, ["switch", "chat", "--dry-run", "--stack", str(stack_folder)])
    assert done.exit_code == 0
    assert "docker compose --profile launcher --profile chat up -d" in done.output
    assert asked(shims) == []


@pytest.mark.system("shellcheck")
def test_the_script_is_clean_shell() -> None:
    subprocess.run(["shellcheck", ROOT / "deploy" / "compose" / "switch.sh"], check=True, timeout=60)


def test_in_the_folder_of_the_stack_it_needs_no_option(
    stack_folder: Path, shims: Shims, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stack_folder)
    monkeypatch.delenv("HOTSEAT_URL", raising=False)
    done = CliRunner().invoke(main, ["switch", "chat"])
    assert done.exit_code == 0, done.output
    assert asked(shims) == expected("chat")
