"""Files that an operator names: whatever they are, reading ends."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hotseat import bounded_file
from hotseat.bounded_file import read_bounded
from hotseat.config import ConfigError, load


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 100)
    assert read_bounded(file, 1000) == b"x" * 100
    assert read_bounded(file, 50) == b"x" * 51
    assert read_bounded("/dev/zero", 70_000) == b"\0" * 70_001
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none", 10)
    with pytest.raises(IsADirectoryError):
        read_bounded(tmp_path, 10)


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    """``hotseat serve -c <(envsubst < hotseat.yaml)``."""
    reading, writing = os.pipe()

    def write() -> None:
        os.write(writing, b"a" * 70_000)
        os.write(writing, b"b" * 10)
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    assert read_bounded(f"/dev/fd/{reading}", 100_000) == b"a" * 70_000 + b"b" * 10
    writer.join()
    os.close(reading)


def test_a_fifo_that_nobody_writes_to_is_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It kept the start, and every reload, waiting for ever."""
    monkeypatch.setattr(bounded_file, "PIPE_TIMEOUT_S", 0.1)
    fifo = tmp_path / "hotseat.yaml"
    os.mkfifo(fifo)
    with pytest.raises(ConfigError) as error:
        load(str(fifo), {"HOME": str(tmp_path)})
    assert "nobody wrote to this pipe" in str(error.value)
