"""Listen addresses."""

from __future__ import annotations

import pytest

from hotseat.config.parsers import network


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("127.0.0.1:8000", "127.0.0.1", 8000),
        (":8000", "", 8000),
        ("*:80", "", 80),
        (8001, "127.0.0.1", 8001),
        ("8001", "127.0.0.1", 8001),
        ("[::1]:8000", "::1", 8000),
        ("localhost:0", "localhost", 0),
        ("gpu-box.lan:80", "gpu-box.lan", 80),
    ],
)
def test_addresses(written: object, host: str, port: int) -> None:
    assert network.address(written) == (host, port)


@pytest.mark.parametrize(
    "written",
    ["", "here", "1.2.3.4", "::1:80", "[::1", "[x]:1", "a b:1", "h:65536", "h:-1", "h:²", True, 99999],
)
def test_what_is_no_address(written: object) -> None:
    with pytest.raises(ValueError):
        network.address(written)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("x", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert network.is_loopback(host) is loopback
