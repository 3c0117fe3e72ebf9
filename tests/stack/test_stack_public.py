"""The stack of a public site, as containers: the launcher has a proxy of the socket, not the socket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from fakes.dockerd import Dockerd
from fakes.stack import MODELS, Stack, laid_out
from hotseat.envfile.syntax import assign

pytestmark = pytest.mark.system("docker", "dockerd", "curl", "jq", "ip", "iptables", "haproxy")


@pytest.fixture(scope="module")
def public(gpu_engine: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """As the overlay's head says: ``COMPOSE_FILE`` in .env, the containers made once, the launcher up."""
    with laid_out(gpu_engine, tmp_path_factory.mktemp("public") / "llm") as stack:
        env = stack.folder / ".env"
        files = "docker-compose.yml:docker-compose.public.yml"
        env.write_text(assign(env.read_text(encoding="utf-8"), {"COMPOSE_FILE": files}), encoding="utf-8")
        stack.shell("docker compose --profile '*' create")
        stack.shell("docker compose up -d launcher")
        stack.until("the launcher is healthy", stack.healthy)
        yield stack


CURL = (
    "curl -s -H 'Content-Type: application/json' "
    '-H "Authorization: Bearer $(sed -n s/^ADMIN_API_KEY=//p .env)"'
)
PROXY = "http://socket-proxy:2375"
ASK = """docker exec launcher python3 -c '
import sys, urllib.request as r, urllib.error as e
try:
    print(r.urlopen(r.Request("{url}", data=b"{{}}", method="{method}"), timeout=20).status)
except e.HTTPError as error:
    print(error.code)
'"""


def test_models_start_swap_and_stop_through_the_proxy(public: Stack) -> None:
    assert public.running() == {"launcher", "socket-proxy"}
    assert "sitechat" in json.dumps(json.loads(public.shell(MODELS.format("chat"))))
    assert public.running() == {"launcher", "socket-proxy", "sitechat"}
    assert "coder3b" in public.shell(MODELS.format("coder"))
    assert public.running() == {"launcher", "socket-proxy", "coder3b"}


def test_what_is_done_on_the_shell_is_heard_through_the_proxy(public: Stack) -> None:
    public.shell(MODELS.format("chat"))
    public.shell("docker compose stop sitechat")
    public.until("the stop is noticed", lambda: "its container was stopped by somebody else" in public.log())
    public.shell("docker compose --profile coder3b up -d --no-deps coder3b")
    started = public.started_at("coder3b")
    assert "coder3b" in public.shell(MODELS.format("coder"))
    assert public.started_at("coder3b") == started


def test_the_launcher_cannot_become_root_of_the_host(public: Stack) -> None:
    assert "/var/run/docker.sock" not in json.dumps(public.engine.inspect("launcher")["Mounts"])
    denied = {"containers/create": "POST", "containers/launcher/exec": "POST", "info": "GET", "build": "POST"}
    for path, method in denied.items():
        assert public.shell(ASK.format(url=f"{PROXY}/{path}", method=method)).strip() == "403", path
    assert public.shell(ASK.format(url=f"{PROXY}/version", method="GET")).strip() == "200"


def test_a_container_that_is_missing_is_told_of_with_the_command_to_type(public: Stack) -> None:
    public.shell("docker rm -f qwen7b-bnb4")
    message = json.loads(public.shell(MODELS.format("qwen7b")))["error"]["message"]
    assert "the socket proxy only allows inspecting" in message
    by_hand = re.search(r"by hand: (docker compose .* qwen7b-bnb4)", message)
    assert by_hand, message
    public.shell(by_hand[1])
    public.shell(f'{CURL} -X POST http://<ip>:8000/admin/start -d \'{{"route": "qwen7b", "wait": true}}\'')
    assert "qwen7b-bnb4" in public.shell(MODELS.format("qwen7b"))


def test_a_restarted_proxy_costs_no_model(public: Stack) -> None:
    public.shell(MODELS.format("chat"))
    started = public.started_at("sitechat")
    public.shell("docker compose restart socket-proxy")
    assert "sitechat" in public.shell(MODELS.format("chat"))
    assert public.started_at("sitechat") == started
    public.until("it starts models again", lambda: "coder3b" in public.shell(MODELS.format("coder")))
