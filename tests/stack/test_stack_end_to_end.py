"""The owner's stack on a real Docker Engine: the seed's sanity commands, with other images alone."""

from __future__ import annotations

import json
import re
import subprocess
import threading

import pytest
from click.testing import CliRunner

from fakes.stack import CHAT, LIMIT_S, MODELS, OWNER, Stack
from hotseat.cli import main
from hotseat.stack.keys import UPSTREAM

pytestmark = pytest.mark.system("docker", "dockerd", "curl", "jq", "ip", "iptables", "haproxy")


def test_the_sanity_commands(stack: Stack) -> None:
    # Start launcher only (no models hot)
    stack.shell("docker compose up -d launcher")
    assert stack.running() == {"launcher"}
    # Prove lazy start works for chat
    answer = json.loads(stack.shell(MODELS.format("chat")))
    assert "sitechat" in json.dumps(answer)
    assert stack.running() == {"launcher", "sitechat"}
    # The others do not fit beside it
    assert "coder3b" in stack.shell(MODELS.format("coder"))
    assert stack.running() == {"launcher", "coder3b"}
    assert "qwen7b-bnb4" in stack.shell(MODELS.format("qwen7b"))
    assert stack.running() == {"launcher", "qwen7b-bnb4"}
    # See container states/names
    assert set(stack.ids()) == {"launcher", "sitechat", "coder3b", "qwen7b-bnb4"}
    # Stop everything but launcher
    stack.shell("docker compose stop coder3b sitechat qwen7b-bnb4")
    assert stack.running() == {"launcher"}
    # And the next request starts one again
    assert "sitechat" in stack.shell(MODELS.format("chat"))
    assert stack.running() == {"launcher", "sitechat"}
    # Tail launcher during a bring-up
    log = stack.log()
    assert re.search(r"ready.*(chat|sitechat)|(chat|sitechat).*ready", log), log
    assert stack.values["VLLM_API_KEY"] not in log


def test_what_the_launcher_made_compose_takes_for_its_own(stack: Stack) -> None:
    for route in ("chat", "coder", "qwen7b"):
        stack.shell(MODELS.format(route))
    before = stack.ids()
    stack.shell("docker compose --profile '*' create")
    assert stack.ids() == before


def test_a_model_answers(stack: Stack) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8})
    answer = json.loads(stack.shell(f"{CHAT}'{body}'"))
    assert answer["choices"][0]["message"]["content"]


def test_the_launcher_restarted_in_mid_stream_adopts_the_model(stack: Stack) -> None:
    stack.shell(MODELS.format("chat"))
    started = stack.started_at("sitechat")
    body = json.dumps(
        {"messages": [{"role": "user", "content": "Count."}], "max_tokens": 1500, "stream": True}
    )
    streaming = subprocess.Popen(
        ["bash", "-c", f"{CHAT}'{body}'".replace("<ip>:8000", f"127.0.0.1:{stack.port}")],
        env={**stack.engine.env, "VLLM_API_KEY": stack.values["VLLM_API_KEY"]},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert streaming.stdout is not None
    assert streaming.stdout.readline()
    reader = threading.Thread(target=streaming.stdout.read)
    reader.start()
    stack.engine.docker("restart", "launcher")
    stack.until("the launcher answers again", stack.answers)
    assert "sitechat" in stack.shell(MODELS.format("chat"))
    assert stack.started_at("sitechat") == started
    reader.join(LIMIT_S)
    streaming.wait(LIMIT_S)


def test_a_rotated_key_makes_no_container_anew_and_the_old_one_is_good_for_a_while(stack: Stack) -> None:
    before, old = stack.ids(), stack.values["VLLM_API_KEY"]
    told = CliRunner().invoke(main, ["rotate-key", "--stack", str(stack.folder)])
    assert told.exit_code == 0
    stack.shell("docker compose --profile '*' create")
    assert stack.ids() == before
    assert (stack.folder / ".env").stat().st_uid == OWNER
    typed = re.search(r"^Next: (cd .*), then give clients", told.output, re.MULTILINE)
    assert typed, told.output
    stack.shell(typed[1])
    stack.until("the new key is read", lambda: "configuration reloaded" in stack.log())
    ask = "curl -s -o /dev/null -w '%{http_code}' http://<ip>:8000/v1/models -H 'Authorization: Bearer "
    keys = {
        "new": stack.values["VLLM_API_KEY"],
        "old": old,
        "no": "x",
        "the containers'": stack.values[UPSTREAM],
    }
    assert keys["new"] != old
    found = {name: stack.shell(f"{ask}{key}'") for name, key in keys.items()}
    assert found == {"new": "200", "old": "200", "no": "401", "the containers'": "401"}


def test_switching_by_hand_is_believed(stack: Stack) -> None:
    stack.shell(MODELS.format("chat"))
    stack.shell("./switch.sh coder")
    assert stack.running() == {"launcher", "coder3b"}
    started = stack.started_at("coder3b")
    assert "coder3b" in stack.shell(MODELS.format("coder"))
    assert stack.started_at("coder3b") == started
