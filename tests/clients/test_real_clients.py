"""Programs that talk to hotseat, run for real: with the configuration that ``hotseat clients`` prints, pasted
unchanged, against the demo's small engine.

Each is asked four times: a cold start, a swap to the other model, a wrong key, and a model that cannot start.
Their own instructions (12,000 tokens in Claude Code, 8,000 in Codex) would take minutes on a CPU, so they are
told to leave those and their tools out; that is an option of theirs and no part of the printed configuration.

The programs are installed once, pinned, into a folder outside of the project (``HOTSEAT_TEST_CLIENTS``, by
default below the user's cache), and again whenever a pin changes.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from hotseat.cli import main

ENGINE = Path(__file__).resolve().parents[2] / "demo" / "engine.py"
KEY = "sk-real-" + "1" * 32
WRONG = "sk-wrong-" + "2" * 32
LIMIT_S = 300
MOST_REQUESTS = 3
"""Requests that a program may send before it shows why a model cannot start: the title's, the task's."""

CONFIG = """
listen: 127.0.0.1:{port}
state_dir: {folder}/state
gpu: {{budget: 0.90}}
default_model: chat
models:
  chat: &engine
    command: [{python}, {engine}, --port, "{{port}}", --alias, engine, --ctx, "8192", --parallel, "1"]
    served_name: engine
    footprint: 0.6
    # So small a model finds no end. (Claude Code goes on where a bound on the tokens has ended an answer.)
    defaults: {{stop: [".", "!", "?"], stop_sequences: [".", "!", "?"], temperature: 0}}
    clamp: {{max_tokens: 64}}
  coder: *engine
  missing:
    command: [no-such-command-anywhere, "{{port}}"]
    footprint: 0.1
"""


@dataclass(frozen=True)
class Launcher:
    url: str
    log: Path

    def requests(self) -> list[Mapping[str, object]]:
        """The requests to models that have ended, from the access log, which is written a little later."""
        marker = f"marker-{uuid.uuid4().hex}"
        request = urllib.request.Request(f"{self.url}/v1/models")
        request.add_header("Authorization", f"Bearer {KEY}")
        request.add_header("X-Request-ID", marker)
        urllib.request.urlopen(request, timeout=LIMIT_S).read()
        deadline = time.monotonic() + LIMIT_S
        while marker not in self.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == "request" and line.get("method") == "POST"]


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    folder = tmp_path_factory.mktemp("launcher")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config, log = folder / "hotseat.yaml", folder / "log"
    config.write_text(CONFIG.format(port=port, folder=folder, python=sys.executable, engine=ENGINE))
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "hotseat", "serve", "-c", str(config)],
            env={**os.environ, "VLLM_API_KEY": KEY},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_listening(process, log)
        yield Launcher(url, log)
    finally:
        process.terminate()
        assert process.wait(LIMIT_S) == 0, log.read_text()


def wait_until_listening(process: subprocess.Popen[bytes], log: Path) -> None:
    while '"listening"' not in log.read_text():
        assert process.poll() is None, log.read_text()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)


# The programs


@dataclass(frozen=True)
class Program:
    """A program: how it is installed, where its printed configuration goes, and how it is asked."""

    package: str
    version: str
    place: str
    """Where what is printed is pasted, below the home folder."""
    ask: Callable[[Path, Path], list[str]]
    """The command, given the installed program and its home folder."""
    needs: str = "npm"
    adapt: Callable[[Path], None] = lambda home: None
    """Leaves its long instructions out."""


def _claude(folder: Path, home: Path) -> list[str]:
    run = f'. "$HOME/claude.sh"; exec {folder}/node_modules/.bin/claude "$@"'
    return ["sh", "-euc", run, "sh", "--system-prompt", "Be brief.", "--tools", "", "-p", "Say hello."]


def _codex(folder: Path, home: Path) -> list[str]:
    (home / "brief.md").write_text("Be brief.")
    options = ["-c", f"model_instructions_file={home}/brief.md", "-c", "project_doc_max_bytes=0"]
    codex = folder / "node_modules" / ".bin" / "codex"
    return [str(codex), "exec", "--skip-git-repo-check", *options, "Say hello."]


def _opencode(folder: Path, home: Path) -> list[str]:
    return [str(folder / "node_modules" / ".bin" / "opencode"), "run", "Say hello."]


def _short_opencode(home: Path) -> None:
    file = home / ".config/opencode/opencode.json"
    config = json.loads(file.read_text())
    short = {"build": {"prompt": "Be brief.", "tools": {"*": False}}, "title": {"disable": True}}
    file.write_text(json.dumps(config | {"agent": short}))


def _cn(folder: Path, home: Path) -> list[str]:
    cn = folder / "node_modules" / ".bin" / "cn"
    return [str(cn), "--config", str(home / ".continue/config.yaml"), "-p", "Say hello."]


def _aider(folder: Path, home: Path) -> list[str]:
    quiet = ["--no-check-update", "--analytics-disable", "--yes-always", "--no-git", "--map-tokens", "0"]
    run = 'export OPENAI_API_KEY="$VLLM_API_KEY"; exec "$@"'
    words = [*quiet, "--edit-format", "ask", "--message", "Say hello."]
    return ["sh", "-euc", run, "sh", str(folder / "bin" / "aider"), *words]


def _llm(folder: Path, home: Path) -> list[str]:
    model = yaml.safe_load((home / LLM).read_text())[0]["model_id"]
    run = '"$0" keys set hotseat --value "$VLLM_API_KEY"; exec "$0" -m "$1" -o max_tokens 16 "Say hello."'
    return ["sh", "-euc", run, str(folder / "bin" / "llm"), model]


LLM = ".config/io.datasette.llm/extra-openai-models.yaml"
PROGRAMS = {
    "claude-code": Program("@anthropic-ai/claude-code", "2.1.197", "claude.sh", _claude),
    "codex": Program("@openai/codex", "0.171.0", ".codex/config.toml", _codex),
    "opencode": Program(
        "opencode-ai", "1.18.33", ".config/opencode/opencode.json", _opencode, adapt=_short_opencode
    ),
    "continue": Program("@continuedev/cli", "1.5.47", ".continue/config.yaml", _cn),
    "aider": Program("aider-chat", "0.86.2", ".aider.conf.yml", _aider, needs="pip"),
    "llm": Program("llm", "0.36", LLM, _llm, needs="pip"),
}


def installed(name: str) -> Path:
    """The folder of a program, installed if it is not there yet."""
    program = PROGRAMS[name]
    cache = Path(os.environ.get("HOTSEAT_TEST_CLIENTS") or "~/.cache/hotseat-test-clients").expanduser()
    folder = cache / f"{name}-{program.version}"
    done = folder / ".installed"
    if done.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if program.needs == "npm":
        (folder / "package.json").write_text("{}")
        words = ["npm", "install", "--no-audit", "--no-fund", f"{program.package}@{program.version}"]
    else:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=LIMIT_S)
        words = [str(folder / "bin/python"), "-m", "pip", "install", "-q"]
        words.append(f"{program.package}=={program.version}")
    made = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert made.returncode == 0, made.stderr
    done.touch()
    return folder


@dataclass(frozen=True)
class Asked:
    status: int
    text: str
    requests: list[Mapping[str, object]]


def ask(name: str, launcher: Launcher, home: Path, model: str, key: str = KEY) -> Asked:
    """Paste what is printed for this model, and ask the program something."""
    program, folder = PROGRAMS[name], installed(name)
    printed = CliRunner(env={"VLLM_API_KEY": KEY, "HOTSEAT_API_KEY": None}).invoke(
        main, ["clients", name, "--url", launcher.url, "--model", model]
    )
    assert printed.exit_code == 0, printed.stderr
    file = home / program.place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(printed.stdout)
    program.adapt(home)
    work = home / "work"
    work.mkdir(exist_ok=True)
    foreign = ("API_KEY", "ANTHROPIC", "OPENAI", "CLAUDE", "CODEX", "XDG", "HOTSEAT")
    env = {k: v for k, v in os.environ.items() if not any(word in k for word in foreign)}
    env |= {"HOME": str(home), "VLLM_API_KEY": key, "NO_COLOR": "1", "DO_NOT_TRACK": "1", "CI": "1"}
    before = len(launcher.requests())
    ran = subprocess.run(
        program.ask(folder, home),
        cwd=work,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return Asked(ran.returncode, ran.stdout + ran.stderr, launcher.requests()[before:])


@pytest.mark.system("npm")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_printed_configuration_works_when_pasted(name: str, launcher: Launcher, tmp_path: Path) -> None:
    for model in ("chat", "coder"):  # a cold start, or a swap from the program before; and a swap
        asked = ask(name, launcher, tmp_path, model)
        assert asked.status == 0, asked.text
        served = [one for one in asked.requests if one.get("route") == model]
        assert served, asked.requests
        assert {one["status"] for one in served} == {200}
        assert any(one.get("stream") for one in served)
        assert any(float(str(one.get("waited_s", 0))) > 0.1 for one in served), "no start was waited for"
    wrong = ask(name, launcher, tmp_path, "chat", key=WRONG)
    assert {one["status"] for one in wrong.requests} <= {401}
    # Claude Code shows none of the server's words for a 401.
    assert ("Not logged in" if name == "claude-code" else "key is not valid") in " ".join(wrong.text.split())
    cannot = ask(name, launcher, tmp_path, "missing")
    assert "command not found" in " ".join(cannot.text.split())
    assert {one["status"] for one in cannot.requests} <= {400, 200}, "200: a title, by what is loaded"
    assert sum(one["status"] == 400 for one in cannot.requests) <= MOST_REQUESTS
