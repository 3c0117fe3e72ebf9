"""The systemd unit: what it starts and stops, and that systemd takes it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from fakes.compose_binary import compose_binary
from fakes.shims import Shims
from hotseat.cli import main
from hotseat.stack.unit import unit

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "deploy" / "systemd" / "hotseat.service"


def text(**changes: object) -> str:
    given: dict[str, object] = {
        "folder": Path("/srv/llm/compose"),
        "compose": ("/usr/bin/docker", "compose"),
        "profiles": ("launcher", "chat"),
        "models": ("coder3b", "sitechat", "qwen7b-bnb4"),
    }
    return unit(**{**given, **changes})  # type: ignore[arg-type]


def lines(unit_text: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit_text, re.MULTILINE)


def test_it_starts_the_launcher_with_a_model_and_stops_all_with_it() -> None:
    shipped = SHIPPED.read_text(encoding="utf-8")
    compose = "/usr/bin/docker compose"
    assert lines(shipped, "ExecStart") == [f"{compose} --profile launcher --profile chat up --detach"]
    assert lines(shipped, "ExecStop") == [f"{compose} --profile '*' stop launcher"]
    assert lines(shipped, "ExecStopPost") == [f"{compose} --profile '*' stop coder3b sitechat qwen7b-bnb4"]


def test_the_shipped_unit_is_current() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == text()


def test_a_users_unit_needs_nothing_of_the_system() -> None:
    mine = text(user=True)
    assert "docker.service" not in mine
    assert lines(mine, "WantedBy") == ["default.target"]


def test_odd_paths_are_quoted_as_systemd_reads_them() -> None:
    odd = text(folder=Path("/srv/my 100% stack"), compose=("/opt/my docker/docker", "compose"))
    assert lines(odd, "WorkingDirectory") == ["/srv/my 100%% stack"]
    assert lines(odd, "ExecStart")[0].startswith('"/opt/my docker/docker" compose ')


@pytest.mark.system("systemd-analyze")
@pytest.mark.parametrize("user", [False, True])
def test_systemd_takes_it(user: bool, tmp_path: Path) -> None:
    folder = tmp_path / "my 100% stack"
    folder.mkdir()
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    file = tmp_path / "hotseat.service"
    file.write_text(text(folder=folder, compose=(str(program), "compose"), user=user), encoding="utf-8")
    # The machine that runs this may have no Docker of its own to depend on.
    (tmp_path / "docker.service").write_text(f"[Service]\nExecStart={program}\n", encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def shims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shims:
    shims = Shims(tmp_path / "shims")
    shims.add("docker", {"compose version": (0, "2.40.3")}, ("config --format json", compose_binary(), 1))
    shims.add("systemctl")
    monkeypatch.setenv("PATH", str(shims.folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return shims


def test_print_only_prints(stack_folder: Path, shims: Shims, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["install-service", "--stack", str(stack_folder), "--model", "chat", "--print"]
    )
    assert done.exit_code == 0, done.output
    expected = text(folder=stack_folder, compose=(str(shims.folder / "docker"), "compose"))
    assert done.output == expected
    assert shims.calls("systemctl") == []
    assert not (tmp_path / "home").exists()


def test_without_a_model_the_launcher_starts_alone(stack_folder: Path, shims: Shims) -> None:
    done = CliRunner().invoke(main, ["install-service", "--stack", str(stack_folder), "--print"])
    assert lines(done.output, "ExecStart")[0].endswith(" compose --profile launcher up --detach")
    assert "sitechat" in lines(done.output, "ExecStopPost")[0]


def test_a_users_unit_is_written_and_enabled(stack_folder: Path, shims: Shims, tmp_path: Path) -> None:
    words = ["install-service", "--user", "--stack", str(stack_folder)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    path = tmp_path / "home" / "systemd" / "user" / "hotseat.service"
    assert f"WorkingDirectory={stack_folder}" in path.read_text(encoding="utf-8")
    assert shims.calls("systemctl") == [["--user", "daemon-reload"], ["--user", "enable", "hotseat.service"]]

    path.write_text("[Service]\nExecStart=/bin/mine\n", encoding="utf-8")
    again = CliRunner().invoke(main, words)
    assert again.exit_code == 1
    assert "differs" in again.output
    assert "/bin/mine" in path.read_text(encoding="utf-8")
    assert CliRunner().invoke(main, [*words, "--force"]).exit_code == 0
    assert "/bin/mine" not in path.read_text(encoding="utf-8")


def test_a_failing_systemctl_fails_the_command(stack_folder: Path, shims: Shims) -> None:
    shims.add("systemctl", {"enable": (5, "no such unit")})
    done = CliRunner().invoke(main, ["install-service", "--user", "--stack", str(stack_folder)])
    assert done.exit_code == 1


def test_an_unknown_model_is_refused(stack_folder: Path, shims: Shims) -> None:
    done = CliRunner().invoke(main, ["install-service", "--stack", str(stack_folder), "--model", "llama"])
    assert done.exit_code == 2
    assert "chat, coder, qwen7b" in done.output


def plain_folder(tmp_path: Path, more: str = "") -> Path:
    folder = tmp_path / "my 100% hotseat"
    folder.mkdir()
    (folder / "hotseat.yaml").write_text(
        f"models: {{m: {{command: 'run {{port}}'}}}}\n{more}", encoding="utf-8"
    )
    return folder


@pytest.mark.system("systemd-analyze")
@pytest.mark.parametrize("scope", ["--system", "--user"])
def test_a_folder_with_hotseat_yaml_alone_gets_a_service_that_systemd_takes(
    scope: str, tmp_path: Path
) -> None:
    folder = plain_folder(tmp_path)
    done = CliRunner().invoke(main, ["install-service", "--stack", str(folder), scope, "--print"])
    assert done.exit_code == 0, done.output
    assert "docker" not in done.output
    (start,) = lines(done.output, "ExecStart")
    assert start.endswith(f'serve -c "{tmp_path}/my 100%% hotseat/hotseat.yaml"')
    assert lines(done.output, "KillMode") == ["mixed"]
    assert lines(done.output, "User") == ([] if scope == "--user" else [folder.owner()])
    file = tmp_path / "hotseat.service"
    file.write_text(done.output, encoding="utf-8")
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_the_service_runs_this_hotseat_and_finds_programs_as_this_shell_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/opt/my tools:/usr/bin")
    folder = plain_folder(tmp_path, "on_exit: leave\n")
    done = CliRunner().invoke(main, ["install-service", "--stack", str(folder), "--print"])
    assert lines(done.output, "Environment") == ['"PATH=/opt/my tools:/usr/bin"']
    assert lines(done.output, "KillMode") == ["process"]
    program = lines(done.output, "ExecStart")[0].partition(" serve")[0]
    run = subprocess.run([*program.split(), "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("hotseat ")


def test_the_service_of_plain_processes_is_written_and_enabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shims = Shims(tmp_path / "shims")
    shims.add("systemctl", {"": (0, "")})
    monkeypatch.setenv("PATH", str(shims.folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    done = CliRunner().invoke(main, ["install-service", "--stack", str(plain_folder(tmp_path)), "--user"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "config/systemd/user/hotseat.service").is_file()
    assert "systemctl --user start hotseat.service" in done.output
    assert "loginctl enable-linger" in done.output


def test_a_model_to_start_is_named_in_the_file_instead(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["install-service", "--stack", str(plain_folder(tmp_path)), "--model", "m", "--print"]
    )
    assert done.exit_code == 2
    assert "preload: true under models.m" in done.output
