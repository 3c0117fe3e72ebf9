"""``hotseat check`` against a running hotseat with fake engines."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.hotseat import LIMIT_S, Hotseat, serving

KEY, ADMIN = "sk-client-" + "1" * 32, "sk-admin-" + "2" * 32


@pytest.fixture(scope="module")
def hotseat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotseat]:
    models: dict[str, list[str]] = {
        "chat": [],
        "coder": ["--start-s", "0.3"],
        "stuck": ["--never-ready"],
        "broken": ["--start-fails"],
    }
    made = Hotseat(
        tmp_path_factory.mktemp("check"), models, env={"VLLM_API_KEY": KEY, "ADMIN_API_KEY": ADMIN}
    )
    yield from serving(made)


def check(hotseat: Hotseat, *words: str, key: str = KEY, url: str = "") -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if name != "HOTSEAT_API_KEY"}
    env |= {"HOTSEAT_URL": url or f"http://127.0.0.1:{hotseat.port}", "VLLM_API_KEY": key}
    return subprocess.Popen(
        [sys.executable, "-m", "hotseat", "check", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # An admin's key must not be sent for a client's.
        env={**env, "ADMIN_API_KEY": ADMIN},
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=LIMIT_S)
    assert KEY not in out + err
    return process.returncode, out, err


def test_a_line_for_each_model_in_the_order_given(hotseat: Hotseat) -> None:
    status, out, err = ended(check(hotseat, "--within", "60", "coder", "chat"))
    assert (status, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()] == [["ok", "coder"], ["ok", "chat"]]
    assert hotseat.send("GET", "/healthz").status == 200


def test_one_that_fails_to_start_fails_at_once_with_its_reason(hotseat: Hotseat) -> None:
    status, out, _ = ended(check(hotseat, "--within", "60", "broken", "chat"))
    assert status == 1
    first, second = out.splitlines()
    assert first.startswith("FAILED  broken")
    assert "status 503" in first
    assert second.startswith("ok")  # the others are asked all the same


def test_time_over_is_a_failure(hotseat: Hotseat) -> None:
    status, out, _ = ended(check(hotseat, "--within", "0.5", "--json", "stuck", "chat"))
    assert status == 1
    told = json.loads(out)
    assert [(one["model"], one["ok"], one["status"]) for one in told["models"]] == [
        ("stuck", False, None),
        ("chat", True, 200),
    ]
    assert told["models"][0]["message"] == "no answer within 0.5 s"


def test_unknown_names_and_wrong_keys_are_told(hotseat: Hotseat) -> None:
    status, out, _ = ended(check(hotseat, "nobody"))
    assert status == 1
    assert "404" in out
    status, out, _ = ended(check(hotseat, "chat", key="sk-wrong-" + "3" * 32))
    assert status == 1
    assert "401" in out
    status, _, err = ended(check(hotseat, key="sk-wrong-" + "3" * 32))
    assert status == 1
    assert "is not valid" in err


def test_without_names_all_are_asked(hotseat: Hotseat) -> None:
    status, out, _ = ended(check(hotseat, "--within", "0.5"))
    assert status == 1
    assert {line.split()[1] for line in out.splitlines()} == {"chat", "coder", "stuck", "broken"}


def test_no_launcher_is_status_three(hotseat: Hotseat) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: nothing else takes it
        status, out, err = ended(check(hotseat, "chat", url=f"http://127.0.0.1:{free.getsockname()[1]}"))
    assert (status, out) == (3, "")
    assert "no launcher answers" in err


def test_interrupted_it_keeps_what_it_knows(tmp_path: Path) -> None:
    for one in serving(Hotseat(tmp_path, {"chat": [], "stuck": ["--never-ready"]})):
        process = check(one, "--within", "60", "--json", "chat", "stuck")
        one.until("stuck", lambda model: model["waiting"] == 1)
        process.send_signal(signal.SIGINT)
        status, out, err = ended(process)
        assert status == 130
        assert "Traceback" not in err
        told = json.loads(out)
        assert told["interrupted"] is True
        assert [row["model"] for row in told["models"]] == ["chat"]
        assert one.model("stuck")["state"] == "starting"  # what it asked for goes on


def test_a_told_pause_is_kept_and_asked_again(tmp_path: Path) -> None:
    # A request that cannot be held so long is sent away with Retry-After: the check comes back.
    made = Hotseat(tmp_path, {"slow": {"options": ["--start-s", "1.5"], "max_hold": "200ms"}})
    for one in serving(made):
        status, out, _ = ended(check(one, "--within", "60", "slow"))
        assert (status, out.split()[:2]) == (0, ["ok", "slow"])
        assert one.model("slow")["starts"] == 1
