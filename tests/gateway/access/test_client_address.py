"""Clients' addresses, behind proxies and without."""

from __future__ import annotations

import pytest

from hotseat.gateway.access.client_address import UNKNOWN, Addresses

PROXIES = Addresses(("127.0.0.1", "10.0.0.0/8", "fd00::/8"), cloudflare=("192.168.7.0/24",))


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", [("x-forwarded-for", "1.2.3.4")], "203.0.113.9"),
        ("203.0.113.9", [("cf-connecting-ip", "1.2.3.4")], "203.0.113.9"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", [("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
        ("127.0.0.1", [("x-forwarded-for", "6.6.6.6, 1.2.3.4")], "1.2.3.4"),
        ("127.0.0.1", [("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.1.1.1")], "1.2.3.4"),
        ("127.0.0.1", [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
        ("127.0.0.1", [("x-forwarded-for", "1.2.3.4:5678")], "1.2.3.4"),
        ("127.0.0.1", [("x-forwarded-for", "[2001:db8::5]:80")], "2001:db8::/64"),
        ("127.0.0.1", [("x-forwarded-for", "1.2.3.4, made up")], UNKNOWN),
        ("127.0.0.1", [("x-forwarded-for", "10.1.1.1, 10.2.2.2")], "10.1.1.1"),
        ("127.0.0.1", [("x-forwarded-for", "1.2.3.4"), ("cf-connecting-ip", "6.6.6.6")], "1.2.3.4"),
        ("127.0.0.1", [("cf-connecting-ip", "1.2.3.4")], "127.0.0.1"),  # may be forged: it does not set it
        ("192.168.7.1", [("cf-connecting-ip", "1.2.3.4")], "1.2.3.4"),
        ("192.168.7.1", [("x-forwarded-for", "1.2.3.4"), ("cf-connecting-ip", "6.6.6.6")], "1.2.3.4"),
        ("fd00::1", [("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
        ("::ffff:10.0.0.1", [("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
        ("::ffff:1.2.3.4", [], "1.2.3.4"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
    ],
)
def test_the_clients_address(peer: str, headers: list[tuple[str, str]], address: str) -> None:
    fields = [(name.encode(), value.encode()) for name, value in headers]
    assert PROXIES.of((peer, 1), fields) == address


def test_without_proxies_nobody_is_believed() -> None:
    forged = [(b"x-forwarded-for", b"1.2.3.4"), (b"cf-connecting-ip", b"1.2.3.4")]
    assert Addresses(()).of(("127.0.0.1", 1), forged) == "127.0.0.1"
    assert Addresses(()).of(None, forged) == UNKNOWN
    assert (
        PROXIES.of(("127.0.0.1", 1), [(b"x-forwarded-for", b"6.6.6.6," * 10_000 + b"1.2.3.4")]) == "1.2.3.4"
    )
