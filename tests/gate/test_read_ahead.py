"""Weights that are read into the page cache while their model waits for the GPU."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.models import model
from hotseat.core.spec import ModelSpec
from hotseat.runtimes.process.spec import ProcessSpec
from hotseat.weights import read_ahead
from hotseat.weights.downloads import WeightDownloader
from hotseat.weights.read_ahead import HostMemory, WeightReader

PLENTY = HostMemory(free=8000, available=16000)


@pytest.fixture
def weights(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"model-{number}.safetensors" for number in (1, 2)]
    for file in files:
        file.write_bytes(b"w" * 3_000_000)
    return files


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "BLOCK_BYTES", 1_000_000)


def reader(files: Sequence[Path], *memory: HostMemory | None) -> WeightReader:
    """A reader of these files on a machine whose memory is so at each look; the last one stays."""
    looks = list(memory)

    async def files_of(model: ModelSpec) -> Sequence[Path]:
        return files

    return WeightReader(files_of, lambda: looks.pop(0) if len(looks) > 1 else looks[0])


def test_all_weights_are_read_where_memory_is_free(weights: list[Path]) -> None:
    assert asyncio.run(reader(weights, PLENTY).read(model("chat"))) == 6_000_000


def test_reading_stops_before_pages_of_others_would_be_given_up(weights: list[Path]) -> None:
    full = HostMemory(free=100, available=16000)
    assert asyncio.run(reader(weights, PLENTY, PLENTY, full).read(model("chat"))) == 2_000_000


def test_reading_stops_at_the_reserve(weights: list[Path]) -> None:
    chat = replace(model("chat"), standby_reserve_mib=20_000)
    assert asyncio.run(reader(weights, PLENTY).read(chat)) == 0


def test_nothing_is_read_where_the_kernel_tells_nothing_of_its_memory(weights: list[Path]) -> None:
    assert asyncio.run(reader(weights, None).read(model("chat"))) == 0


def test_a_file_that_is_gone_stops_nothing(weights: list[Path]) -> None:
    weights[0].unlink()
    assert asyncio.run(reader(weights, PLENTY).read(model("chat"))) == 3_000_000


def of_command(*words: str, **env: str) -> ModelSpec:
    return replace(model("chat"), engine="vllm", launch=ProcessSpec(command=("vllm", *words), env=env))


def found(spec: ModelSpec) -> list[str]:
    downloader = WeightDownloader(dict, dict)
    return [path.name for path in asyncio.run(downloader.weight_files(spec))]


def test_weights_are_found_in_a_folder_and_in_the_hubs_cache(weights: list[Path], tmp_path: Path) -> None:
    names = [path.name for path in weights]
    assert found(of_command("serve", str(tmp_path))) == names
    hub = tmp_path / "hf" / "hub" / "models--Qwen--Tiny"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("abc")
    (hub / "snapshots").mkdir()
    (hub / "snapshots" / "abc").symlink_to(tmp_path)
    assert found(of_command("serve", "Qwen/Tiny", HF_HOME=str(tmp_path / "hf"))) == names
    assert found(of_command("serve", "Qwen/Other", HF_HOME=str(tmp_path / "hf"))) == []
    assert found(of_command("serve", "--port", "1")) == []
