"""What a body asks for is read as the servers read it: the last key wins, escapes are decoded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from hotseat.gateway.http.errors import RequestRefused
from hotseat.gateway.http.headers import RequestHead
from hotseat.gateway.policy import body
from hotseat.gateway.policy.request_body import RequestBody

HEAD = RequestHead([(b"content-type", b"application/json")])


def loads(content: bytes) -> Any:
    """As a server's parser reads it, numbers left as they are written."""
    return json.loads(content, parse_int=str, parse_float=str)


def refused(content: bytes) -> str:
    with pytest.raises(RequestRefused) as caught:
        body.read(content, HEAD)
    problem = caught.value.problem
    assert problem.status == 400
    return problem.message


def taken(content: bytes) -> RequestBody | None:
    """What was read, or ``None`` where it was refused."""
    try:
        return body.read(content, HEAD)
    except RequestRefused:
        return None


@pytest.mark.parametrize(
    ("content", "model", "stream"),
    [
        (b"{}", None, False),
        (b'{"model":"a","stream":true}', "a", True),
        (b'{"model":"a","model":"b"}', "b", False),
        (b'{"model":"a","model":null}', None, False),
        (b'{"stream":true,"stream":false}', None, False),
        (b'{"mod\\u0065l":"x"}', "x", False),
        (b'{"model":"a","\\u006d\\u006f\\u0064\\u0065\\u006c":"b"}', "b", False),
        (b'{"x":{"model":"inner","stream":true}}', None, False),
        (b'{"x":"\\"model\\":\\"no\\""}', None, False),
        (b'{"Model":"no"," model":"no","model\\u0000":"no"}', None, False),
        (' {\n"model" :\t"ü\\u00fc😀\\ud83d\\ude00" } '.encode(), "üü😀😀", False),
        (b'{"stream":1}', None, True),
        (b'{"stream":"true"}', None, True),
        (b'{"stream":0}', None, False),
        (b'{"stream":null}', None, False),
        (b'{"stream":"false"}', None, False),
        (b'{"stream":[true]}', None, False),
        (b'{"n":1e999,"m":' + b"9" * 5000 + b"}", None, False),
    ],
)
def test_what_a_body_asks_for(content: bytes, model: str | None, stream: bool) -> None:
    asked = body.read(content, HEAD)
    assert (asked.model, asked.stream, asked.content) == (model, stream, content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not valid JSON"),
        (b"hello", "not valid JSON"),
        (b'{"a":1,}', "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a":1}{"a":2}', "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":Infinity}', "not valid JSON"),
        (b'{"a":01}', "not valid JSON"),
        (b'{"a":"\x01"}', "not valid JSON"),
        (b'{"a":"\\x41"}', "not valid JSON"),
        (b'{"a":"\\ud800"}', "not valid JSON"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"\xc0\xad":1}', "not UTF-8"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"model":"a"}', "not valid JSON"),
        (b'\xef\xbb\xbf"a"', "wrong type"),
        ('{"model":"a"}'.encode("utf-16"), "not UTF-8"),
        ('{"model":"a"}'.encode("utf-16-le"), "not valid JSON"),
        ('{"model":"a"}'.encode("utf-32-be"), "not valid JSON"),
        (b"[" * 1_000_000, "Expected `object`"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too deeply"),
        (b'{"model":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "wrong type"),
        (b"[]", "Expected `object`"),
        (b'"model"', "Expected `object`"),
        (b"null", "Expected `object`"),
        (b'{"model":5}', "$.model"),
        (b'{"model":["a"]}', "$.model"),
        (b'{"model":5,"model":"a"}', "$.model"),
        (b"model=chat", "not valid JSON"),
    ],
)
def test_bodies_that_are_refused(content: bytes, words: str) -> None:
    assert words in refused(content)


@pytest.mark.parametrize(
    "kind", [b"text/plain", b"application/x-www-form-urlencoded", b"", b"application/jsonx"]
)
def test_another_content_type_hides_nothing(kind: bytes) -> None:
    head = RequestHead([(b"content-type", kind)])
    assert body.read(b'{"model":"a"}', head).model == "a"
    with pytest.raises(RequestRefused):
        body.read(b"hello", head)


class Raw(str):
    """A number as it is written."""


PIECES = [
    b'"model":"z",',
    b',"model":"z"',
    b'"',
    b"\\",
    b"\\u0022",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\x00",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"null",
    b"NaN",
    b"//",
    b"/*",
    b"'",
    b"\xff\xfe",
    b" ",
    b"1",
    b"-",
    b"e",
    b'"model',
    b'l":',
    b"\\ud83d",
]

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.text(max_size=8)
    | st.sampled_from(["1", "-0.0", "1e400", "123456789012345678901234567890", "0.1"]).map(Raw),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """JSON objects as strangers write them: repeated keys, escapes anywhere, odd spaces."""
    dice = draw(st.randoms(use_true_random=False))

    def quoted(text: str) -> str:
        letters = []
        for letter in text:
            code = ord(letter)
            if 0xD800 <= code < 0xE000:
                letters.append("?")
            elif code < 0x20 or letter in '"\\' or (code < 0x10000 and dice.random() < 0.25):
                letters.append(f"\\u{code:04x}")
            else:
                letters.append(letter)
        return '"' + "".join(letters) + '"'

    def space() -> str:
        return dice.choice(["", "", "", " ", "\n", "\t\r "])

    def written(value: Any) -> str:
        if isinstance(value, Raw):
            return str(value)
        if isinstance(value, str):
            return quoted(value)
        if isinstance(value, list):
            return "[" + ",".join(space() + written(item) + space() for item in value) + "]"
        if isinstance(value, dict):
            return pairs(list(value.items()))
        return json.dumps(value)

    def pairs(items: list[tuple[str, Any]]) -> str:
        told = [f"{space()}{quoted(key)}{space()}:{space()}{written(value)}{space()}" for key, value in items]
        return "{" + ",".join(told) + "}"

    keys = st.sampled_from(["model", "stream", "Model", "mode", "model ", "a"]) | st.text(max_size=5)
    named = st.tuples(st.just("model"), st.text(max_size=6) | st.none())
    streamed = st.tuples(st.just("stream"), st.booleans())
    others = st.tuples(keys.filter(lambda key: key not in ("model", "stream")), VALUES)
    return pairs(draw(st.lists(named | streamed | others, max_size=8))).encode()


@effort(max_examples=100, deadline=None)
@given(
    texts(), st.text(min_size=1, max_size=10).filter(lambda t: not any(0xD800 <= ord(c) < 0xE000 for c in t))
)
def test_reading_and_renaming_agree_with_the_servers_parser(content: bytes, name: str) -> None:
    before = loads(content)
    asked = body.read(content, HEAD)
    assert asked.content is content
    assert asked.model == before.get("model")
    assert asked.stream == before.get("stream", False)
    asked.rename(name)
    assert loads(asked.content) == {**before, "model": name}
    again = body.read(asked.content, HEAD)
    assert (again.model, again.stream) == (name, asked.stream)


@effort(max_examples=200, deadline=None)
@given(texts(), st.data())
@example(b'{"model":"a"}', None)
def test_whatever_is_taken_means_the_same_to_the_server(content: bytes, data: st.DataObject | None) -> None:
    broken = bytearray(content)
    if data is not None:
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(broken)))
            how = data.draw(st.integers(0, 2))
            if how == 0:
                del broken[at : at + data.draw(st.integers(1, 3))]
            else:
                piece = data.draw(st.sampled_from(PIECES) | st.binary(min_size=1, max_size=2))
                broken[at : at + (how - 1)] = piece
    asked = taken(bytes(broken))
    if asked is None:
        return
    if not broken:
        assert asked.content == b""
        return
    meant = loads(bytes(broken))
    assert isinstance(meant, dict)
    assert asked.model == meant.get("model")
