"""Downloads are recognized by their progress bars."""

from __future__ import annotations

import pytest

from hotseat.engines.base import download_progress
from hotseat.engines.pick import engine_named

SHARD = "model-00001-of-00004.safetensors:  12%|█▏        | 512M/4.00G [00:10<01:10, 49.8MB/s]"


@pytest.mark.parametrize(
    "line",
    [
        SHARD,
        "Fetching 10 files:  30%|███       | 3/10 [00:05<00:12,  1.79s/it]",
        "Downloading shards:  50%|█████     | 2/4 [00:30<00:30, 15.0s/it]",
        "tokenizer.json: 100%|██████████| 9.09M/9.09M [00:00<00:00, 41.5MB/s]",
        "(APIServer pid=12) model.safetensors:   0%|          | 0.00/2.20G [00:00<?, ?B/s]",
        "Downloading (incomplete total...):  10%|█         | 1.0G/9.9G [00:10<01:10, 100MB/s]",
    ],
)
def test_a_download_is_a_phase_of_its_own(line: str) -> None:
    for engine in ("vllm", "openai"):
        assert engine_named(engine).phase(line) == "downloading"


@pytest.mark.parametrize(
    "line",
    [
        "Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01,  1.20s/it]",
        "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 10%|█ | 3/35 [00:01<00:10, 3.1it/s]",
        'INFO:     127.0.0.1:1 - "GET /Downloading:%2010%7C HTTP/1.1" 404 Not Found',
        "INFO 11-28 llm.py: Downloading is off",
    ],
)
def test_other_lines_are_no_download(line: str) -> None:
    assert download_progress(line) is None


def test_a_bar_that_stands_still_is_told_from_one_that_moves() -> None:
    later = SHARD.replace("00:10<01:10, 49.8MB/s", "00:40<09:10, 1.2MB/s")
    assert download_progress(later) == download_progress(SHARD)
    assert download_progress(SHARD.replace("512M", "513M")) != download_progress(SHARD)
