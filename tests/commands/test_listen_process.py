"""``hotseat serve`` on several addresses at once, and commands that find it there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from fakes.hotseat import Hotseat


def test_a_launcher_on_a_port_and_a_unix_socket_is_reached_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "hotseat.sock"
    with_both = {"LISTEN": f"127.0.0.1:0 unix:{path}"}
    hotseat = Hotseat(tmp_path, {"chat": []}, env=with_both).start()
    try:
        hotseat.told(lambda line: line.get("url") == f"unix:{path}")
        assert hotseat.send("GET", "/healthz").status == 200
        done = subprocess.run(
            [sys.executable, "-m", "hotseat", "status", "--json", "--url", f"unix:{path}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert list(json.loads(done.stdout)["models"]) == ["chat"]
    finally:
        hotseat.stop()
    assert not path.exists()
    gone = subprocess.run(
        [sys.executable, "-m", "hotseat", "status", "--url", f"unix:{path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert gone.returncode == 3
    assert f"no launcher answers at unix:{path}" in gone.stderr


def test_commands_find_the_launcher_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "hotseat.sock"
    hotseat = Hotseat(tmp_path, {"chat": []}, listen=[f"unix:{path}"], env={"LISTEN": ""}).start()
    env = {name: value for name, value in os.environ.items() if name not in ("LISTEN", "HOTSEAT_URL")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "hotseat", "status", "-c", str(hotseat.file)],
            capture_output=True,
            text=True,
            check=False,
            env=env,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"unix:{path}\n")
    finally:
        hotseat.stop()


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "hotseat.yaml").write_text("state_dir: s\nmodels: {m: {command: 'run {port}'}}\n")
        done = subprocess.run(
            [sys.executable, "-m", "hotseat", "serve", "-c", str(tmp_path / "hotseat.yaml")],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LISTEN": f"[::1]:0 {at}"},
            timeout=60,
        )
    assert done.returncode == 1
    assert f"cannot listen on {at}: Address already in use" in done.stderr
