"""Ids of requests: the client's own where they are safe, else new ones."""

from __future__ import annotations

import pytest

from hotseat.gateway.http.request_id import request_id


@pytest.mark.parametrize("sent", [b"abc", b"00-1.2_3:4", b"A" * 128])
def test_a_sound_id_is_kept(sent: bytes) -> None:
    assert request_id(sent) == sent.decode()


@pytest.mark.parametrize(
    "sent", [None, b"", b"A" * 129, b"a b", b'a"b', b"a\x00", b"\xc3\xa4", b"a,b", b"<x>"]
)
def test_another_id_is_made_anew_and_none_twice(sent: bytes | None) -> None:
    made = [request_id(sent) for _ in range(10)]
    assert len(set(made)) == 10
    assert all(one.startswith("req-") for one in made)


def test_ids_do_not_tell_how_many_requests_there_are() -> None:
    made = [request_id(None) for _ in range(1000)]
    assert len(set(made)) == 1000
    assert len({one[:12] for one in made}) > 990
    assert sorted(made) != made
