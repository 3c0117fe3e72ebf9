"""Commands that are not one program: what is told, and what to write instead."""

from __future__ import annotations

import json

import pytest

from hotseat.config import ConfigError, loads


def told(command: str | list[str]) -> str:
    """The problem of a model with this command; empty: none."""
    text = json.dumps({"state_dir": "s", "models": {"m": {"command": command}}})
    try:
        loads(text, "f", {"HOME": "/h"})
    except ConfigError as error:
        (found,) = error.problems
        return str(found)
    return ""


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        ("docker run --rm -p {port}:8000 vllm/vllm-openai m", "container: NAME"),
        ("/usr/bin/docker compose up chat", "container: NAME"),
        ("podman run x", "container: NAME"),
        ("nerdctl run x", "container: NAME"),
        ("nice -n 5 docker run x", "container: NAME"),
        ("env A=b docker start -a chat", "container: NAME"),
        ("nohup docker run x", "container: NAME"),
        (["bash", "-c", "docker run -p {port}:8000 x"], "container: NAME"),
        (["sh", "-ec", "cd /x && A=b exec podman run x"], "container: NAME"),
        ("CUDA_VISIBLE_DEVICES=0 vllm serve m --port {port}", "env: {CUDA_VISIBLE_DEVICES: …}"),
        ("A= vllm serve m --port {port}", "env: {A: …}"),
        ("~/venv/bin/vllm serve m --port {port}", "${HOME}/venv/bin/vllm"),
        ("vllm serve ~/models/m --port {port}", "${HOME}/models/m"),
        ("$HOME/bin/vllm serve m --port {port}", "${HOME}"),
        ("vllm serve m --port {port} --api-key $KEY", "${KEY}"),
        ("vllm serve m --port {port} --api-key=$KEY", "${KEY}"),
        ("source venv/bin/activate && vllm serve m --port {port}", "venv/bin/PROGRAM"),
        (". venv/bin/activate; vllm serve m --port {port}", "venv/bin/PROGRAM"),
        ("cd /srv/x && vllm serve m --port {port}", "cwd: /srv/x"),
        ("export A=b && vllm serve m --port {port}", "move the variables to env"),
        ("exec vllm serve m --port {port}", "remove exec"),
        ("conda activate vllm && vllm serve m --port {port}", "…/envs/NAME/bin/PROGRAM"),
        ("vllm serve m --port {port} | tee log", "[bash, -c"),
        ("vllm serve m --port {port} > log 2>&1", "hotseat logs"),
        ("vllm serve m --port {port} 2>&1", "hotseat logs"),
        ("vllm serve m --port {port} >>log", "hotseat logs"),
        ("nohup vllm serve m --port {port} &", "[bash, -c"),
        (["bash", "-c", "nohup vllm serve m --port {port} &"], "remove the &"),
        ("sudo vllm serve m --port {port}", "run hotseat as that user"),
        ("sudo -u llm vllm serve m --port {port}", "run hotseat as that user"),
        (["sh", "-c", "sudo vllm serve m --port {port}"], "run hotseat as that user"),
        ("screen -dm vllm serve m --port {port}", "remove screen"),
        ("tmux new -d 'vllm serve m --port {port}'", "remove tmux"),
        ("setsid vllm serve m --port {port}", "remove setsid"),
        ("systemd-run --user vllm serve m --port {port}", "--scope"),
        ("conda run -n x vllm serve m --port {port}", "--no-capture-output"),
        ("llama-server --threads $(nproc) --port {port}", "its result"),
        ("llama-server --threads `nproc` --port {port}", "its result"),
    ],
)
def test_what_is_not_one_program_is_told_with_what_to_write_instead(
    command: str | list[str], instead: str
) -> None:
    assert instead in told(command)


@pytest.mark.parametrize(
    "command",
    [
        "vllm serve org/m --port {port} --served-model-name a b",
        "env A=b vllm serve m --port {port}",
        "nice -n 5 ionice -c 2 vllm serve m --port {port}",
        "numactl --cpunodebind 0 taskset 0xff vllm serve m --port {port}",
        "nohup vllm serve m --port {port}",
        "systemd-run --user --scope vllm serve m --port {port}",
        "conda run --no-capture-output -n x vllm serve m --port {port}",
        "python -c 'import x; x.run()' {port}",
        ["bash", "-c", "source venv/bin/activate && exec vllm serve m --port {port}"],
        ["bash", "-c", "vllm serve m --port {port} 2>&1 | tee log"],
        ["sh", "-c", "vllm serve m --port {port} & wait"],
        ["bash", "-c", "cd ~/x && CUDA_VISIBLE_DEVICES=0 exec ./vllm --port $PORT {port}"],
        ["sh", "-c", "echo 'unfinished {port}"],
        ["run", "{port}", "--stop", "<|im_end|>", "--start", "<think>", "--template", "{{ a | b }} > x"],
        ["run", "{port}", "--password", "pa$$word", "--price", "5$", "--x", "a&b", "--y", "a;b c"],
        ["docker-like-server", "{port}"],
        ["run", "--name", "docker", "{port}", "--user", "sudo"],
    ],
)
def test_one_program_is_left_alone(command: str | list[str]) -> None:
    assert told(command) == ""
