"""What the commands prove themselves by besides a key, and how they know a launcher that speaks TLS."""

from __future__ import annotations

import base64
import signal
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from fakes.hotseat import Hotseat, serving
from fakes.tls import make_certificate
from hotseat.cli import main
from hotseat.commands import _credentials
from hotseat.commands._errors import CommandFailed

BASIC = "Basic " + base64.b64encode(b"me:pw").decode()


@pytest.mark.parametrize(
    ("key", "env", "told"),
    [
        (None, {}, {}),
        ("k", {}, {"Authorization": "Bearer k"}),
        ("k", {_credentials.API_SECRET: "s"}, {"Authorization": "Bearer k", "X-Api-Secret": "s"}),
        ("k", {_credentials.BASIC: "me:pw"}, {"Authorization": BASIC, "X-Api-Key": "k"}),
        (None, {_credentials.BASIC: "me:pw"}, {"Authorization": BASIC}),
    ],
)
def test_fields(key: str | None, env: dict[str, str], told: dict[str, str]) -> None:
    assert _credentials.header_fields(key, env) == told


def test_fields_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "fields"
    file.write_text("# of the tunnel\ncf-access-client-id: id.access\nX-API-Secret:  se cret \n\n")
    told = _credentials.header_fields("k", {_credentials.API_SECRET: "other"}, str(file))
    assert told == {
        "Cf-Access-Client-Id": "id.access",
        "X-Api-Secret": "se cret",
        "Authorization": "Bearer k",
    }
    file.write_text(f"Authorization: {BASIC}\n")
    fields = _credentials.header_fields("k", {_credentials.HEADERS_FILE: str(file)})
    assert fields == {
        "Authorization": BASIC,
        "X-Api-Key": "k",
    }


@pytest.mark.parametrize(
    "line", ["hush", "a b: hush", ": hush", "x: hush\x01", "x: höhush", "x:", " x: hush"]
)
def test_a_line_that_is_no_field_is_not_repeated(tmp_path: Path, line: str) -> None:
    file = tmp_path / "fields"
    file.write_text(f"A: 1\n{line}\n")
    with pytest.raises(CommandFailed, match=":2: expected a header field") as refused:
        _credentials.header_fields(None, {}, str(file))
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("env", [{_credentials.API_SECRET: "schlüssel-€"}, {_credentials.BASIC: "hush"}])
def test_a_secret_that_no_header_can_carry(env: dict[str, str]) -> None:
    with pytest.raises(click.ClickException) as refused:
        _credentials.header_fields(None, env)
    assert not any(value in refused.value.format_message() for value in env.values())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["status", "--headers-file", str(tmp_path / "none")])
    assert (result.exit_code, "cannot be read" in result.output) == (1, True)


def hotseat(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, words, prog_name="hotseat")
    return result.exit_code, result.output


@pytest.mark.system("openssl")
def test_every_command_passes_a_second_factor_and_knows_the_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    config: dict[str, Any] = {
        "api_secret": "${SECOND}",
        "basic": {"user": "me", "password": "${PASSWORD}"},
        "tls": {"cert": "cert.pem", "key": "key.pem"},
    }
    env = {"VLLM_API_KEY": "sk-0123456789", "SECOND": "second-0123", "PASSWORD": "password-0123"}
    for running in serving(Hotseat(tmp_path, {"chat": []}, env=env, **config)):
        monkeypatch.setenv("LISTEN", f"127.0.0.1:{running.port}")
        monkeypatch.setenv("VLLM_API_KEY", env["VLLM_API_KEY"])
        monkeypatch.setenv("HOTSEAT_CONFIG", str(running.file))
        assert hotseat("status")[0] == 1
        assert f"requires a second factor: set {_credentials.BASIC}" in hotseat("status")[1]
        monkeypatch.setenv(_credentials.BASIC, "me:password-0123")
        assert f"requires a second factor: set {_credentials.API_SECRET}" in hotseat("status")[1]
        assert hotseat("check", "chat")[0] == 1
        monkeypatch.setenv(_credentials.API_SECRET, "second-0123")
        for words in (
            ["status"],
            ["check", "--within", "30", "chat"],
            ["stop", "chat", "--wait"],
            ["start", "chat", "--wait"],
            ["logs", "chat"],
            ["capture", "chat", "--stop"],
            ["reload"],
        ):
            assert hotseat(*words)[0] == 0, (words, hotseat(*words))
        file = tmp_path / "fields"
        file.write_text("X-API-Secret: second-0123\n")
        monkeypatch.delenv(_credentials.API_SECRET)
        assert hotseat("status", "--headers-file", str(file))[0] == 0
        url = f"https://127.0.0.1:{running.port}"
        assert "certificate verify failed" in hotseat("status", "--headers-file", str(file), "--url", url)[1]
        monkeypatch.setenv(_credentials.API_SECRET, "second-0123")
        # Another certificate than the file's is not trusted. One that was renewed is taken over on reload,
        # and one that cannot be used changes nothing.
        before = (tmp_path / "cert.pem").read_text()
        make_certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
        assert "shows another certificate" in hotseat("status")[1]
        since = len(running.lines)
        running.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        running.told(lambda line: line["event"] == "configuration reloaded", since)
        assert hotseat("status")[0] == 0
        good = (tmp_path / "key.pem").read_text()
        (tmp_path / "key.pem").write_text("none")
        status, told = hotseat("reload")
        assert (status, "are not a certificate and its key" in told) == (1, True)
        (tmp_path / "key.pem").write_text(good)
        assert before != (tmp_path / "cert.pem").read_text()
        assert hotseat("reload")[0] == hotseat("status")[0] == 0
