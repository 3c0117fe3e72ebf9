"""``hotseat clients``: what it prints is read as its programs read it, and run where it can be run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from fakes.hotseat import LIMIT_S, Hotseat, serving
from hotseat.cli import main
from hotseat.clients.formats import FORMATS
from hotseat.clients.offer import NotOffered, Offered, choose, together

KEY = "sk-client-" + "1" * 32
CARD = {"0": 0.9}
CHAT = Offered(name="chat", model="chat", footprint={"0": 0.18}, default=True)
CODER = Offered(name="coder", model="coder", footprint={"0": 0.72}, context=8192)
LARGE = Offered(name="codelarge", model="codelarge", footprint={"0": 0.9})


def test_two_that_fit_share_the_work() -> None:
    choice = choose("http://h", [CHAT, CODER], CARD, coding=True, chat="chat")
    assert (choice.chat, choice.autocomplete) == (CHAT, CODER)  # 0.18 + 0.72 is just the budget


def test_one_does_both_where_two_would_swap() -> None:
    choice = choose("http://h", [CHAT, LARGE], CARD, coding=True, chat="chat")
    assert (choice.chat, choice.autocomplete) == (CHAT, CHAT)
    assert "does not fit on the GPU together with it" in choice.why
    asked = choose("http://h", [CHAT, LARGE], CARD, coding=True, chat="chat", autocomplete="codelarge")
    assert asked.autocomplete == CHAT


def test_the_usual_model_is_the_coder_for_programmers_and_the_default_for_others() -> None:
    assert choose("http://h", [CHAT, LARGE], CARD, coding=True).chat == LARGE
    assert choose("http://h", [LARGE, CHAT], CARD, coding=False).chat == CHAT


def test_room_is_reckoned_for_each_gpu() -> None:
    left = Offered(name="a", model="a", footprint={"0": 0.9})
    right = Offered(name="b", model="b", footprint={"1": 0.5})
    assert together(left, right, {"0": 0.9, "1": 0.5})
    assert not together(left, right, {"0": 0.9, "1": 0.4})
    assert together(left, Offered(name="c", model="a", footprint={"0": 0.9}), {"0": 0.9})


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(NotOffered, match="there are chat, coder"):
        choose("http://h", [CHAT, CODER], CARD, coding=False, chat="nobody")


@pytest.fixture(scope="module")
def hotseat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotseat]:
    models: dict[str, dict[str, Any]] = {
        "chat": {"footprint": 0.18},
        "coder": {"footprint": 0.90},
    }
    made = Hotseat(
        tmp_path_factory.mktemp("clients"),
        models,
        env={"VLLM_API_KEY": KEY},
        default_model="chat",
        gpu={"budget": 0.9},
    )
    yield from serving(made)


def hotseat_clients(*words: str, **env: str) -> Result:
    """The command, with these variables and no others of ours."""
    ours = {name: None for name in os.environ if "API_KEY" in name or name.startswith("HOTSEAT")}
    result = CliRunner(env=ours | env).invoke(main, ["clients", *words], prog_name="hotseat")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def run(hotseat: Hotseat, *words: str, key: str = KEY) -> Result:
    return hotseat_clients(*words, HOTSEAT_URL=f"http://127.0.0.1:{hotseat.port}", VLLM_API_KEY=key)


def printed(hotseat: Hotseat, *words: str) -> str:
    done = run(hotseat, *words)
    assert done.exit_code == 0, done.stderr
    assert (KEY in done.stdout) is ("--with-key" in words)
    assert KEY not in done.stderr
    return done.stdout


def test_continue(hotseat: Hotseat) -> None:
    data = yaml.safe_load(printed(hotseat, "continue"))
    assert (data["name"], data["schema"]) == ("hotseat", "v1")
    coder, chat, completing = data["models"]
    assert coder["model"] == "coder"
    assert coder["provider"] == "openai"
    assert coder["apiBase"] == f"http://127.0.0.1:{hotseat.port}/v1"
    assert coder["apiKey"] == "${{ secrets.VLLM_API_KEY }}"
    assert coder["roles"] == chat["roles"] == ["chat", "edit", "apply"]
    assert (completing["model"], completing["roles"]) == ("coder", ["autocomplete"])
    assert completing["requestOptions"]["headers"] == {"X-Hotseat-May-Evict": "false"}


def test_continue_as_it_was(hotseat: Hotseat) -> None:
    data = json.loads(printed(hotseat, "continue-json", "--with-key", "--model", "chat"))
    assert [one["title"] for one in data["models"]] == ["chat", "coder"]
    assert data["tabAutocompleteModel"]["model"] == "chat"  # coder would swap with it
    assert data["models"][0]["apiKey"] == KEY
    assert data["models"][0]["requestOptions"] == {"timeout": 900_000}  # in milliseconds for its adapter


def test_opencode(hotseat: Hotseat) -> None:
    data = json.loads(printed(hotseat, "opencode"))
    provider = data["provider"]["hotseat"]
    assert provider["npm"] == "@ai-sdk/openai-compatible"
    assert provider["options"]["apiKey"] == "{env:VLLM_API_KEY}"
    assert set(provider["models"]) == {"chat", "coder", "current"}
    assert (data["model"], data["small_model"]) == ("hotseat/coder", "hotseat/current")


def test_claude_code(hotseat: Hotseat) -> None:
    script = printed(hotseat, "claude-code") + "env\n"
    env = {"PATH": os.environ["PATH"], "VLLM_API_KEY": "$a 'key'"}
    done = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, env=env, check=True)
    told = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("ANTHROPIC"))
    assert told["ANTHROPIC_BASE_URL"] == f"http://127.0.0.1:{hotseat.port}"
    assert told["ANTHROPIC_AUTH_TOKEN"] == "$a 'key'"
    assert {value for name, value in told.items() if name.endswith("MODEL")} == {"coder"}
    assert "CLAUDE_CODE_MAX" not in done.stdout  # nobody knows how long its context is
    known = printed(hotseat, "claude-code", "--context", "32768")
    assert "export CLAUDE_CODE_MAX_CONTEXT_TOKENS=32768\nexport CLAUDE_CODE_MAX_OUTPUT_TOKENS=8192\n" in known


def test_open_webui_and_librechat(hotseat: Hotseat) -> None:
    web = yaml.safe_load(printed(hotseat, "open-webui"))["services"]["open-webui"]["environment"]
    assert web["OPENAI_API_KEYS"] == "${VLLM_API_KEY}"
    assert web["DEFAULT_MODELS"] == "chat"
    assert all(isinstance(value, str) for value in web.values())
    endpoint = yaml.safe_load(printed(hotseat, "librechat"))["endpoints"]["custom"][0]
    assert endpoint["models"]["default"] == ["chat", "coder"]
    assert endpoint["titleModel"] == "current_model"


def test_zed_aider_and_cline(hotseat: Hotseat) -> None:
    zed = json.loads(printed(hotseat, "zed", "--context", "4096"))
    models = zed["language_models"]["openai_compatible"]["hotseat"]["available_models"]
    assert {one["max_tokens"] for one in models} == {4096}
    aider = yaml.safe_load(printed(hotseat, "aider"))
    assert (aider["model"], aider["weak-model"]) == ("openai/coder", "openai/current")
    assert "openai-api-key" not in aider
    assert "Model ID: coder\n" in printed(hotseat, "cline", "--with-key")


@pytest.mark.parametrize("with_key", [False, True])
@pytest.mark.parametrize(
    "name", ["openai-sdk", "anthropic-sdk", pytest.param("curl", marks=pytest.mark.system("curl"))]
)
def test_programs_run(hotseat: Hotseat, name: str, with_key: bool) -> None:
    program = printed(hotseat, name, *(["--with-key"] if with_key else []))
    words = ["sh", "-euc"] if name == "curl" else [sys.executable, "-c"]
    env = {key: value for key, value in os.environ.items() if "API_KEY" not in key}
    done = subprocess.run(
        [*words, program],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env=env if with_key else env | {"VLLM_API_KEY": KEY},
    )
    assert done.returncode == 0, done.stderr
    assert "tok" in done.stdout
    assert "error" not in done.stdout


WITH_CONTEXT = {"codex", "litellm", "continue", "continue-json", "opencode", "cline", "zed", "claude-code"}


def test_every_program_is_printed_from_a_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "hotseat.yaml"
    command = "vllm serve x --port {port} --max-model-len 4096 --gpu-memory-utilization 0.5"
    file.write_text(yaml.safe_dump({"listen": "127.0.0.1:8123", "models": {"only": {"command": command}}}))
    for name in FORMATS:
        done = hotseat_clients(name, "-c", str(file))
        assert done.exit_code == 0, done.stderr
        assert "only" in done.stdout
        assert ("4096" in done.stdout) is (name in WITH_CONTEXT)
        if name != "zed":
            assert "http://127.0.0.1:8123" in done.stdout


def test_refusals(hotseat: Hotseat) -> None:
    wrong = run(hotseat, "curl", key="sk-wrong-" + "2" * 32)
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert "refuses the key in VLLM_API_KEY" in wrong.stderr
    keyless = run(hotseat, "curl", "--with-key", key="")
    assert (keyless.exit_code, keyless.stdout) == (1, "")
    nobody = run(hotseat, "curl", "--model", "nobody")
    assert (nobody.exit_code, nobody.stdout) == (2, "")
    assert run(hotseat, "emacs").exit_code == 2


# Launchers without keys, and with keys elsewhere


@pytest.fixture(scope="module")
def open_hotseat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotseat]:
    """A launcher without keys."""
    models: dict[str, dict[str, Any]] = {"chat": {"footprint": 0.18}, "embed": {"capabilities": "embeddings"}}
    yield from serving(Hotseat(tmp_path_factory.mktemp("open"), models, default_model="chat"))


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_that_is_printed_for_a_launcher_without_keys_waits_for_a_key(
    open_hotseat: Hotseat, name: str
) -> None:
    done = run(open_hotseat, name, key="")
    assert done.exit_code == 0, done.stderr
    assert "API_KEY" not in done.stdout.replace("OPENAI_API_KEYS", "").replace("VLLM_API_KEY from", "")
    assert "no-key-needed" in done.stdout or name == "zed"


@pytest.mark.parametrize(
    "name", ["openai-sdk", "anthropic-sdk", pytest.param("curl", marks=pytest.mark.system("curl"))]
)
def test_programs_run_against_a_launcher_without_keys(open_hotseat: Hotseat, name: str) -> None:
    program = run(open_hotseat, name, key="").stdout
    words = ["sh", "-euc"] if name == "curl" else [sys.executable, "-c"]
    env = {key: value for key, value in os.environ.items() if "API_KEY" not in key}
    done = subprocess.run(
        [*words, program], capture_output=True, text=True, timeout=LIMIT_S, check=False, env=env
    )
    assert (done.returncode, "tok" in done.stdout) == (0, True), done.stderr


def test_models_that_cannot_chat_are_not_offered_for_chat(open_hotseat: Hotseat) -> None:
    for name in FORMATS:
        assert "embed" not in run(open_hotseat, name, key="").stdout, name
    with pytest.raises(NotOffered, match="can chat"):
        choose(
            "http://h",
            [Offered(name="e", model="e", footprint={}, capabilities=("embeddings",))],
            CARD,
            coding=True,
        )


def test_the_variable_that_is_set_is_the_one_that_programs_read(hotseat: Hotseat) -> None:
    done = CliRunner(env={"HOTSEAT_API_KEY": KEY, "VLLM_API_KEY": None}).invoke(
        main, ["clients", "openai-sdk", "--url", f"http://127.0.0.1:{hotseat.port}"]
    )
    assert 'os.environ["HOTSEAT_API_KEY"]' in done.stdout


# --write


def test_write_puts_it_in_place_beside_what_is_there_and_proves_it(hotseat: Hotseat, tmp_path: Path) -> None:
    file = tmp_path / "opencode.json"
    before = '{"theme": "dark", "provider": {"other": {"npm": "x"}}}'
    file.write_text(before)
    done = run(hotseat, "opencode", "--write", "--file", str(file))
    assert done.exit_code == 0, done.stderr
    data = json.loads(file.read_text())
    assert data["theme"] == "dark"
    assert set(data["provider"]) == {"other", "hotseat"}
    assert (tmp_path / "opencode.json.bak").read_text() == before
    assert "coder answered at" in done.stdout
    again = run(hotseat, "opencode", "--write", "--file", str(file))
    assert "as it was before" not in again.stdout, "nothing has changed: no further backup"
    assert not (tmp_path / "opencode.json.bak2").exists()


def test_write_says_when_the_launcher_does_not_answer_as_the_program_needs(
    hotseat: Hotseat, tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    done = run(hotseat, "codex", "--write", "--file", str(file))  # the fake engine has no /v1/responses
    assert done.exit_code == 1
    assert "/v1/responses answered with status 404" in done.stderr
    assert 'model_provider = "hotseat"' in file.read_text()


def test_a_file_that_cannot_be_merged_is_left_as_it_is(hotseat: Hotseat, tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text("// my settings\n{}")
    done = run(hotseat, "zed", "--write", "--file", str(file))
    assert (done.exit_code, file.read_text()) == (1, "// my settings\n{}")
    assert "was not changed: it is not plain JSON" in done.stderr
    assert run(hotseat, "curl", "--write").exit_code == 2
