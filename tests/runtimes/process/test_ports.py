"""Ports for servers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from hotseat.runtimes.process import ports


@pytest.mark.parametrize(
    ("kernels", "ours"),
    [
        ("32768\t60999\n", range(20_000, 32_768)),
        ("1024\t60999\n", range(61_000, 65_536)),
        ("1024\t65535\n", range(20_000, 65_536)),
        ("nonsense", range(20_000, 32_768)),
    ],
)
def test_ports_are_not_those_of_outgoing_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernels: str, ours: range
) -> None:
    (tmp_path / "range").write_text(kernels)
    monkeypatch.setattr(ports, "EPHEMERAL_RANGE", tmp_path / "range")
    assert ports.candidates() == ours


def test_a_port_that_somebody_listens_on_or_that_is_promised_is_not_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        used = listener.getsockname()[1]
        monkeypatch.setattr(ports, "candidates", lambda: range(used, used + 1))
        with pytest.raises(OSError, match="in use"):
            ports.free_port("127.0.0.1", ())
    assert ports.free_port("127.0.0.1", ()) == used
    with pytest.raises(OSError, match="no free port"):
        ports.free_port("127.0.0.1", (used,))


def test_an_address_that_is_not_ours_is_an_error() -> None:
    with pytest.raises(OSError):
        ports.free_port("203.0.113.1", ())
