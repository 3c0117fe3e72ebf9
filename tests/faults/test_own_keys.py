"""A server that asks for a key of its own is served by hotseat, which shows the key to nobody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.hotseat import Hotseat, serving
from hotseat.runtimes.process import procfs

OWN, ADMIN = "sk-own-1badcafe", "ops-admin-2badcafe"


@pytest.fixture(scope="module")
def hotseat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotseat]:
    made = Hotseat(
        tmp_path_factory.mktemp("own"),
        {"chat": ["--api-key", OWN, "--says", f"started with {OWN}"], "other": []},
        env={"OPS_ADMIN": ADMIN, "HARMLESS": "yes"},
        keys={"ops": {"key": "${OPS_ADMIN}", "admin": True}},
    )
    yield from serving(made)


def test_a_server_with_a_key_of_its_own_answers(hotseat: Hotseat) -> None:
    answer = hotseat.send(
        "POST", "/chat/v1/chat/completions", {"messages": []}, Authorization=f"Bearer {ADMIN}"
    )
    assert answer.status == 200


def test_its_key_is_shown_nowhere(hotseat: Hotseat, tmp_path: Path) -> None:
    head = {"Authorization": f"Bearer {ADMIN}"}
    hotseat.send("POST", "/chat/v1/chat/completions", {"messages": []}, **head)
    for path in ("/stats", "/healthz", "/routes", "/v1/models", "/metrics", "/logs/chat"):
        assert OWN.encode() not in hotseat.send("GET", path, **head).body, path
    assert OWN not in str(hotseat.lines)


def test_servers_do_not_inherit_what_the_configuration_uses_as_a_secret(hotseat: Hotseat) -> None:
    head = {"Authorization": f"Bearer {ADMIN}"}
    answer = hotseat.send("POST", "/other/v1/chat/completions", {"messages": []}, **head)
    env = procfs.environ(answer.pid)
    assert env["HARMLESS"] == "yes"
    assert ADMIN not in env.values()
    assert "OPS_ADMIN" not in env
    assert os.path.exists(f"/proc/{answer.pid}")
