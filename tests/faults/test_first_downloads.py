"""A first start that downloads: seen in the server's progress bars or in the cache that grows."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from fakes.hotseat import Hotseat

SERVER = """
import http.server, os, sys, threading, time
port, how, blobs = int(sys.argv[1]), sys.argv[2], sys.argv[3]
os.makedirs(blobs, exist_ok=True)
for n in range(1, 13):
    if how == "bars":
        sys.stderr.write(f"\\rmodel.safetensors: {n * 8:3}%|##  | {n}00M/1.20G [00:{n:02}<00:09, 49.8MB/s]")
        sys.stderr.flush()
    elif how == "cache":
        with open(os.path.join(blobs, "x.incomplete"), "ab") as file:
            file.write(b"x" * 1000)
    time.sleep(0.5)
print(flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def launcher(tmp_path: Path, how: str) -> Hotseat:
    """A model that is ready after six seconds and may take three."""
    blobs = tmp_path / "hub" / "models--org--m" / "blobs"
    words = [sys.executable, "-c", SERVER, "{port}", how, str(blobs), "vllm", "serve", "org/m"]
    model = {"command": words, "start_timeout": "3s", "engine": "vllm"}
    return DownloadingHotseat(tmp_path, {"m": model}, env={"HF_HUB_CACHE": str(tmp_path / "hub")})


class DownloadingHotseat(Hotseat):
    """A launcher whose models say themselves how they are run."""

    def _launch(self, name: str, options: list[str]) -> dict[str, object]:
        return {}


@pytest.mark.parametrize("how", ["bars", "cache"])
def test_a_first_start_that_downloads_takes_longer_than_its_timeout(tmp_path: Path, how: str) -> None:
    hotseat = launcher(tmp_path, how)
    try:
        hotseat.start()
        hotseat.command("start", "m")
        hotseat.told(lambda line: line.get("phase") == "downloading")
        hotseat.moved("m", "ready")
        assert hotseat.stop() == 0
    finally:
        hotseat.sweep()


def test_a_start_that_downloads_nothing_is_stopped_in_time(tmp_path: Path) -> None:
    hotseat = launcher(tmp_path, "nothing")
    try:
        hotseat.start()
        hotseat.command("start", "m")
        line = hotseat.told(lambda line: line.get("cause") == "start_timeout")
        assert "not ready within 3 s" in line["reason"]
        assert hotseat.stop() == 0
    finally:
        hotseat.sweep()


def test_check_config_says_that_weights_are_missing_and_how_to_get_them(tmp_path: Path) -> None:
    hotseat = launcher(tmp_path, "nothing")
    os.environ["HF_HUB_CACHE"] = str(tmp_path / "hub")
    try:
        told = hotseat.command("check-config", "-c", str(hotseat.file))
        assert told.returncode == 0
        assert f"the weights of org/m are not in {tmp_path / 'hub'}" in told.stdout
        assert "hotseat seed m" in told.stdout
        told = hotseat.command("check-config", "-c", str(hotseat.file), "--json")
        assert "hotseat seed m" in json.loads(told.stdout)["notes"][0]
    finally:
        del os.environ["HF_HUB_CACHE"]
