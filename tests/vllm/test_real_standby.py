"""The real vLLM, prepared while another model has the seat."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from fakes.hotseat import Hotseat
from fakes.real_vllm import LONG, chat, output, stream

pytestmark = pytest.mark.vllm


def test_imports_overlap_with_the_other_models_turn_and_the_answer_is_the_same(hotseat: Hotseat) -> None:
    """Both gates are known after one start of each."""
    chat(hotseat, "curt")
    chat(hotseat, "chat")
    before = len(hotseat.lines)
    with ThreadPoolExecutor() as clients:
        with stream(hotseat, "chat", tokens=LONG) as response:
            assert response.readline().startswith(b"data: ")
            asked = clients.submit(chat, hotseat, "curt")
            hotseat.moved("curt", "preparing", before)
            response.read()
        asked.result()
    moves = [
        line["event"]
        for line in hotseat.lines[before:]
        if line.get("model") == "curt" and line["event"] in ("preparing", "standby", "starting", "ready")
    ]
    assert moves[0] == "preparing"
    assert moves[-2:] == ["starting", "ready"]
    assert any("hotseat gate: open" in line for line in output(hotseat, "curt"))
    assert hotseat.model("curt")["failures"] == 0
