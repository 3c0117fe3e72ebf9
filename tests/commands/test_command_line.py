"""The command line itself: help, exit statuses, and how little it imports."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hotseat import __version__
from hotseat.cli import main
from hotseat.commands import COMMANDS

GOOD = 'models:\n  chat: {command: [my-server, --port, "{port}"]}\n'
BAD = "models:\n  chat: {comand: x}\nidle: -1\n"
OURS = ("HOTSEAT_CONFIG", "HOTSEAT_URL", "LISTEN", "START_TIMEOUT_SECONDS", "IDLE_SECONDS", "VLLM_API_KEY")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)


def hotseat(*words: str) -> Result:
    result = CliRunner().invoke(main, words, prog_name="hotseat")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def process(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
        check=False,
    )


def test_help_lists_every_command_without_importing_any() -> None:
    heavy = ("pydantic", "uvicorn", "starlette", "structlog", "yaml", "msgspec", "asyncio")
    code = (
        "import sys\n"
        "from hotseat.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        f"print('IMPORTED', [m for m in {heavy!r} if m in sys.modules])\n"
        "print('COMMANDS', [m for m in sys.modules if m.startswith('hotseat.commands.')])\n"
    )
    done = process("-c", code)
    assert done.returncode == 0, done.stderr
    assert "IMPORTED []" in done.stdout
    assert "COMMANDS []" in done.stdout
    assert "\nCommands:\n" in done.stdout
    for name, short in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert short.split()[0] in done.stdout


def test_version_and_module() -> None:
    assert hotseat("--version").output == f"hotseat {__version__}\n"
    done = process("-m", "hotseat", "--version")
    assert (done.returncode, done.stdout) == (0, f"hotseat {__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own(name: str) -> None:
    result = hotseat(name, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: hotseat {name}")
    assert "\\b" not in result.output  # click's mark for text that is not to be wrapped
    module = importlib.import_module(f"hotseat.commands.{name.replace('-', '_')}")
    assert module.command.name == name


def test_an_unknown_command_leads_on() -> None:
    result = hotseat("stauts")
    assert result.exit_code == 2
    assert "No such command: 'stauts'. Did you mean status?" in result.output
    assert "Commands: serve, check-config" in hotseat("zzz").output
    assert hotseat("--nonsense").exit_code == 2


def test_check_config_of_a_good_file(tmp_path: Path) -> None:
    (tmp_path / "hotseat.yaml").write_text(GOOD)
    result = hotseat("check-config")
    assert result.exit_code == 0
    assert "hotseat.yaml is valid. hotseat will listen on 127.0.0.1:8000" in result.output
    assert result.output.splitlines()[2].split() == ["MODEL", "RUNTIME", "PATH", "GPU", "IDLE", "STARTS"]
    assert result.output.splitlines()[3].split() == ["chat", "process", "/chat", "90%", "1800s", "my-server"]
    assert json.loads(hotseat("check-config", "--json").output) == {
        "ok": True,
        "file": "hotseat.yaml",
        "problems": [],
        "warnings": [],
        "notes": [],
    }


def test_check_config_of_a_bad_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    result = hotseat("check-config", "-c", str(path))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{path}:2: models.chat: does not say what to start "
        "(add command: [program, arguments…] or container: NAME or workload: deployment/NAME)",
        f"{path}:2: models.chat.comand: unknown key (did you mean command?)",
        f"{path}:3: idle: a duration cannot be negative",
        "3 problems.",
    ]
    as_json = hotseat("check-config", "-c", str(path), "--json")
    assert as_json.exit_code == 2
    told = json.loads(as_json.stdout)
    assert told["ok"] is False
    assert [problem["line"] for problem in told["problems"]] == [2, 2, 3]


def test_check_config_without_a_file() -> None:
    result = hotseat("check-config")
    assert result.exit_code == 2
    assert "no configuration file found" in result.stderr
    assert "Traceback" not in result.output


def test_the_schema_is_printed_without_a_file() -> None:
    result = hotseat("check-config", "--schema")
    assert result.exit_code == 0
    assert json.loads(result.output)["title"] == "hotseat configuration"


def test_serve_says_what_is_wrong_and_starts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    result = hotseat("serve", "-c", str(path))
    assert result.exit_code == 2
    assert "3 problems." in result.stderr
    assert hotseat("serve", "--log-level", "loud").exit_code == 2


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m hotseat check-config --schema | head -n 1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("{\n", "")
