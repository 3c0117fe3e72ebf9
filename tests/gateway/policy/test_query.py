"""A client's query on its way to the model's server: credentials out, all else as it was."""

from __future__ import annotations

import urllib.parse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fakes.gateway import front
from fakes.wire import Served, always, ok
from hotseat.gateway.policy.query import without_credentials


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (b"", b""),
        (b"?", b"?"),
        (b"?beta=true", b"?beta=true"),
        (b"?api_key=sk-1", b""),
        (b"?api_key=sk-1&a=b", b"?a=b"),
        (b"?a=b&key=sk-1&c=%20d&&e", b"?a=b&c=%20d&&e"),
        (b"?token=1&access_token=2&ACCESS-TOKEN=3&secret=4&X-API-Secret=5&password=6&x=7", b"?x=7"),
        (b"?api%5Fkey=sk-1&x=1", b"?x=1"),
        (b"?%61%70%69key=sk-1&x=1", b"?x=1"),
        (b"?api_key[]=sk-1&api_key[0]=sk-2&api.key=sk-3&key2=sk-4&x=1", b"?x=1"),
        (b"?authorization=Bearer+sk-1&auth=sk-2&sig=3&jwt=4&x=1", b"?x=1"),
        (b"?api_key", b""),
        (b"?max_tokens=5&keyword=a&after=item_1&limit=20&monkeys=1", None),
    ],
)
def test_what_looks_like_a_credential_is_taken_out(sent: bytes, passed: bytes | None) -> None:
    assert without_credentials(sent) == (sent if passed is None else passed)


SECRET = "sk-hush-0123456789"
plain = st.text(alphabet="abdflmnopqruvwxz-_.", min_size=1, max_size=6)
"""Names that cannot end like a secret's."""


@given(
    st.lists(st.tuples(plain, st.text(max_size=5)), max_size=4),
    st.sampled_from(["api_key", "key", "token", "Access_Token", "apikey", "X-Api-Key", "secret", "auth"]),
    st.integers(0, 4),
    st.sets(st.integers(0, 5)),
)
@example([("a", "&=?#")], "key", 0, {0, 1, 2})
def test_no_spelling_of_a_name_gets_past(
    others: list[tuple[str, str]], name: str, place: int, escaped: set[int]
) -> None:
    spelled = "".join(f"%{ord(c):02X}" if at in escaped else c for at, c in enumerate(name))
    parts = [urllib.parse.urlencode([one]) for one in others]
    kept = "&".join(parts)
    parts.insert(place, f"{spelled}={SECRET}")
    passed = without_credentials(b"?" + "&".join(parts).encode()).decode()
    assert SECRET not in passed
    assert passed.removeprefix("?") == kept


@pytest.mark.anyio
@pytest.mark.parametrize("prefix", ["/chat", "", "http://localhost/chat"])
async def test_on_the_way_through(prefix: str) -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        await gate.ask(f"{prefix}/v1/messages?beta=true&api_key={SECRET}", b'{"model":"chat"}')
        assert server.requests[0].first == b"POST /v1/messages?beta=true HTTP/1.1"
