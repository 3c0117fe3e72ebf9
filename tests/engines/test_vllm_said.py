"""What the real vLLM wrote (0.32.0, its CPU build): whole outputs, not lines made up from memory.

Below ``vllm_0_32``, with paths changed and quoted source code left out.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

from hotseat.core.errors import LINES_JUDGED, Reason
from hotseat.engines.base import LINES_SHOWN, explained
from hotseat.engines.pick import engine_named
from hotseat.runtimes.process.log_file import split

SAID = Path(__file__).parent / "vllm_0_32"
VLLM = engine_named("vllm")


def lines(name: str) -> list[str]:
    """The lines of an output, as a runtime hands them on."""
    return split((SAID / f"{name}.log").read_bytes())


def test_the_phases_of_a_start() -> None:
    told = [phase for line in lines("start") if (phase := VLLM.phase(line)) is not None]
    assert [phase for phase, _ in groupby(told)] == [
        "starting engine",
        "loading weights",
        "compiling",
        "starting server",
        "ready",
    ]


@pytest.mark.parametrize("name", ["start", "stop"])
def test_a_run_that_does_well_is_given_no_cause_to_die_of(name: str) -> None:
    assert VLLM.hint(lines(name)) is None


@pytest.mark.parametrize(
    ("name", "summary", "permanent", "oom"),
    [
        ("unknown-flag", "unknown flag --bogus", True, False),
        ("too-long", "--max-model-len is larger than the model allows", True, False),
        ("no-such-folder", "no such model", True, False),
        ("empty-folder", "no such model", True, False),
        ("gated", "the model is gated", True, False),
        ("no-such-repository", "no such model", True, False),
        ("no-network", "the model is not in the cache and Hugging Face cannot be reached", False, False),
        ("not-in-the-cache", "the model is not in the cache", False, False),
        ("unknown-architecture", "this vLLM does not know the model's architecture", True, False),
        ("no-weights", "the model's weights are missing", True, False),
        ("damaged-weights", "a file of the model's weights is damaged", True, False),
        ("no-sleep-mode", "sleep mode is not supported on this machine", True, False),
        ("cpu-memory", "not enough free memory", False, True),
        ("no-cache-memory", "no memory left for the KV cache", False, True),
    ],
)
def test_the_cause_of_a_failed_start(name: str, summary: str, permanent: bool, oom: bool) -> None:
    said = lines(name)
    reason = explained(Reason(summary="exited with code 1", lines=tuple(said[-LINES_JUDGED:])), VLLM)
    assert (reason.summary, reason.permanent, reason.oom) == (summary, permanent, oom)
    assert reason.hint or "flag" in summary
    found = VLLM.hint(said)
    assert found is not None
    assert found.line in reason.lines
    assert len(reason.lines) <= LINES_SHOWN
    assert reason.lines[-1] == said[-1]


def test_the_cause_may_stand_far_from_the_end() -> None:
    """The engine tells it, then the server that started the engine tells how that reached it."""
    found = VLLM.hint(lines("no-cache-memory"))
    assert found is not None
    assert found.line not in lines("no-cache-memory")[-LINES_SHOWN:]


def test_a_worker_that_died_in_service() -> None:
    """Three answers were under way: each is mourned in a traceback of its own."""
    found = VLLM.hint(lines("worker-killed")[-LINES_JUDGED:])
    assert found is not None
    assert found.summary == "its engine died"
