"""Keys and addresses as a new operator meets them: ``.env`` is read, lock-outs are told, words differ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fakes.hotseat import Hotseat
from hotseat.cli import main

NAMED = "models: {chat: {command: 'run --port {port}'}, coder: {command: 'run --port {port}'}}\n"
CLEAN = ("HOTSEAT_", "VLLM_", "ADMIN_", "LISTEN", "LAUNCHER_", "COMPOSE_", "UPSTREAM_")


def run(folder: Path, *words: str, **env: str) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in list(os.environ):
            if name.startswith(CLEAN):
                patch.delenv(name)
        return CliRunner(env=dict(env)).invoke(main, words)


@pytest.mark.parametrize(
    ("config", "env", "told"),
    [
        ("keys: {a: {key: sk-aaaaaaaaaaaa}}\n", {}, "no key is an admin key"),
        ("", {"ADMIN_API_KEY": "sk-admin-12345"}, "no key opens a model"),
        (
            "keys: {a: {key: sk-aaaaaaaaaaaa, models: chat, admin: true}}\n",
            {},
            "no key opens coder, so nobody can use it",
        ),
        ("keys: {a: {key: sk-aaaaaaaaaaaa, expires: 2020-01-01T00:00:00Z}}\n", {}, "every key has expired"),
        (
            "keys: {a: {key: sk-aaaaaaaaaaaa}, "
            "b: {key: sk-bbbbbbbbbb, admin: true, expires: 2020-01-01T00:00:00Z}}\n",
            {},
            "no key that has not expired is an admin key",
        ),
    ],
)
def test_who_is_locked_out_is_told_by_check_config_and_doctor(
    config: str, env: dict[str, str], told: str, tmp_path: Path
) -> None:
    (tmp_path / "hotseat.yaml").write_text(NAMED + config)
    checked = run(tmp_path, "check-config", **env)
    assert checked.exit_code == 0, checked.output
    assert f"Warning: {told}" in checked.output
    as_json = json.loads(run(tmp_path, "check-config", "--json", **env).output)
    assert told in as_json["warnings"][0]["message"]
    assert as_json["warnings"][0]["fix"]
    doctor = json.loads(run(tmp_path, "doctor", "--json", **env).output)
    assert [one for one in doctor["checks"] if one["name"] == "access" and told in one["message"]]


@pytest.mark.parametrize(
    ("config", "env"),
    [
        ("", {}),
        ("auth: off\nkeys: {a: {key: sk-aaaaaaaaaaaa}}\n", {}),
        ("", {"VLLM_API_KEY": "sk-aaaaaaaaaaaa"}),
        ("", {"VLLM_API_KEY": "sk-aaaaaaaaaaaa", "ADMIN_API_KEY": "sk-bbbbbbbbbb"}),
        ("keys: {a: {key: sk-aaaaaaaaaaaa, admin: true}}\n", {}),
        (
            "routes: {chat: {model: chat, auth: off}, coder: {model: coder, auth: off}}\n",
            {"ADMIN_API_KEY": "sk-b12345678"},
        ),
    ],
)
def test_nobody_is_locked_out_and_nothing_is_told(config: str, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "hotseat.yaml").write_text(NAMED + config)
    checked = run(tmp_path, "check-config", **env)
    assert checked.exit_code == 0, checked.output
    assert "Warning" not in checked.output


@pytest.fixture
def hotseat(tmp_path: Path) -> Iterator[Hotseat]:
    """A launcher that has its keys from the ``.env`` beside its configuration, and nothing else."""
    (tmp_path / ".env").write_text("VLLM_API_KEY=sk-client-123456\nADMIN_API_KEY=sk-admin-1234567\n")
    running = Hotseat(tmp_path, {"chat": []}).start()
    yield running
    running.stop()


def command(hotseat: Hotseat, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(CLEAN)}
    at = {"LISTEN": f"127.0.0.1:{hotseat.port}"}
    return subprocess.run(
        [sys.executable, "-m", "hotseat", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=hotseat.folder,
        env={**clean, **at, **env},
    )


def test_serve_and_commands_read_the_env_file_beside_the_configuration(hotseat: Hotseat) -> None:
    assert hotseat.send("GET", "/stats").status == 401
    assert command(hotseat, "status").returncode == 0
    assert command(hotseat, "check", "chat", "--within", "30").returncode == 0
    assert command(hotseat, "reload").stdout.startswith("Reloaded.")


def test_no_key_a_wrong_key_and_a_lesser_key_read_differently(hotseat: Hotseat, tmp_path: Path) -> None:
    elsewhere = {"HOTSEAT_ENV_FILE": ""}
    none = command(hotseat, "status", **elsewhere)
    assert none.returncode == 1
    assert "requires an admin key: set HOTSEAT_ADMIN_KEY" in none.stderr
    assert "no API key was sent" in none.stderr
    wrong = command(hotseat, "status", **elsewhere, ADMIN_API_KEY="sk-wrong-1234567")
    assert wrong.returncode == 1
    assert "refuses the key in ADMIN_API_KEY: this API key is not valid" in wrong.stderr
    assert "sk-wrong" not in wrong.stderr
    lesser = command(hotseat, "status", **elsewhere, VLLM_API_KEY="sk-client-123456")
    assert lesser.returncode == 1
    assert "requires an admin key" in lesser.stderr
    assert "the key 'VLLM_API_KEY' is not an admin key" in lesser.stderr
    assert "sk-client" not in lesser.stderr


def test_keys_of_the_env_file_are_not_sent_to_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hotseat.commands import _options

    (tmp_path / ".env").write_text("ADMIN_API_KEY=sk-admin-1234567\n")
    (tmp_path / "hotseat.yaml").write_text(NAMED)
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(CLEAN):
            monkeypatch.delenv(name)
    assert "Authorization" not in _options.connect("http://gpu-box:8000", None)._headers()
    assert "Authorization" in _options.connect("http://localhost:8000", None)._headers()
    assert "Authorization" in _options.connect(None, None)._headers()


@pytest.mark.parametrize(
    ("env_file", "url"),
    [
        ("LAUNCHER_PORT=9001\n", "http://127.0.0.1:9001"),
        ("LAUNCHER_PORT=9001\nLAUNCHER_BIND=127.0.0.1\n", "http://127.0.0.1:9001"),
        ("LAUNCHER_BIND=10.0.0.5\n", "http://10.0.0.5:8000"),
        ("LAUNCHER_BIND=0.0.0.0\n", "http://127.0.0.1:8000"),
        ("LISTEN=127.0.0.1:9002\n", "http://127.0.0.1:9002"),
        ("LAUNCHER_PORT=nonsense\n", "http://127.0.0.1:8123"),
        ("", "http://127.0.0.1:8123"),
    ],
)
@pytest.mark.parametrize("how", ["in the folder", "by its file"])
def test_the_launcher_of_a_stack_is_found_by_its_env_file(
    env_file: str, url: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hotseat.commands import _options

    (tmp_path / ".env").write_text(env_file)
    (tmp_path / "docker-compose.yml").write_text("services: {}\n")
    (tmp_path / "hotseat.yaml").write_text(NAMED + "listen: 8123\n")
    for name in list(os.environ):
        if name.startswith(CLEAN):
            monkeypatch.delenv(name)
    if how == "in the folder":
        monkeypatch.chdir(tmp_path)
        assert _options.connect(None, None).url == url
    else:
        assert _options.connect(None, str(tmp_path / "hotseat.yaml")).url == url


def test_a_rotated_key_is_in_force_after_the_command_that_is_printed(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("VLLM_API_KEY=sk-client-123456\n")
    hotseat = Hotseat(tmp_path, {"chat": []}).start()
    try:
        rotated = command(hotseat, "rotate-key")
        assert rotated.returncode == 0, rotated.stderr
        assert "Next: hotseat reload, then give clients the new key." in rotated.stdout
        assert "kill -s HUP" not in rotated.stdout
        reloaded = command(hotseat, "reload")
        assert reloaded.returncode == 0, reloaded.stderr
        new = next(
            line.partition("=")[2]
            for line in (tmp_path / ".env").read_text().splitlines()
            if line.startswith("VLLM_API_KEY=")
        )
        assert new != "sk-client-123456"
        assert hotseat.send("GET", "/v1/models", Authorization=f"Bearer {new}").status == 200
        assert command(hotseat, "status").returncode == 0
    finally:
        hotseat.stop()


def test_without_any_common_key_the_launcher_is_to_be_restarted(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("VLLM_API_KEY=sk-client-123456\n")
    rotated = run(tmp_path, "rotate-key", "--grace", "0")
    assert "docker compose restart launcher" in rotated.output
