"""A full state disk stops no start, and ``/healthz`` says that it is full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.hotseat import Hotseat
from hotseat import wiring


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte."""
    folder = tmp_path / "state"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=700", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_models_start_and_go_on_although_the_state_disk_is_full(tmp_path: Path, small_disk: Path) -> None:
    hotseat = Hotseat(tmp_path, {"chat": ["--says", "hello"], "coder": []})
    assert hotseat.state == small_disk
    try:
        hotseat.start()
        assert hotseat.ask("chat", messages=[]).status == 200
        fill(small_disk)
        assert hotseat.ask("coder", messages=[]).status == 200
        assert hotseat.ask("chat", messages=[]).status == 200
        (warning,) = hotseat.send("GET", "/healthz").json["warnings"]
        assert "is full" in warning
        assert hotseat.command("stop", "chat", "--wait").returncode == 0
        assert hotseat.ask("chat", messages=[]).status == 200
        assert "hello" in hotseat.command("logs", "chat").stdout
        assert hotseat.stop() == 0
        assert hotseat.engines() == []
    finally:
        hotseat.sweep()


def test_a_disk_with_space_is_not_worth_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wiring.disk_warnings(tmp_path) == []
    real = os.statvfs(tmp_path)

    def full(path: Any) -> os.statvfs_result:
        return os.statvfs_result([*real[:4], 1, *real[5:]])

    monkeypatch.setattr(os, "statvfs", full)
    (warning,) = wiring.disk_warnings(tmp_path)
    assert "is full" in warning
    assert str(tmp_path) in warning
