"""Starts that fail: the real server's last words become one clear line."""

from __future__ import annotations

import pytest

from fakes.hotseat import Hotseat
from fakes.real_vllm import hello

pytestmark = pytest.mark.vllm


@pytest.mark.parametrize(
    ("model", "words", "permanent"),
    [
        ("misspelt", "unknown flag --max-modle-len", True),
        ("nobody", "no such model", True),
        ("too-long", "lower --max-model-len", True),
        ("no-room", "KV cache", False),
    ],
)
def test_a_failed_start_says_what_was_wrong(
    hotseat: Hotseat, model: str, words: str, permanent: bool
) -> None:
    answer = hotseat.ask(model, **hello())
    assert answer.status == 503, answer.body
    assert words in answer.error["message"]
    assert (answer.headers.get("x-should-retry") == "false") is permanent
    said = "\n".join(hotseat.send("GET", "/healthz").json["routes"][model]["last_error"]["lines"])
    assert "rror" in said
    assert hotseat.engines() == []
