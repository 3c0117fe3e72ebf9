"""The reckoning of weights and cache: parameter counts, shares, and where models lie in the cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotseat.stack.compose.model import ComposeService, from_data
from hotseat.stack.doctor.memory_fit import MemoryFit, fit
from hotseat.stack.doctor.model_memory import GIB, KNOWN, architecture, from_config, model_folder

PUBLISHED = {
    "microsoft/Phi-3.5-mini-instruct": 3_821_079_552,
    "Qwen/Qwen2.5-Coder-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
}
"""Parameter counts from the models' pages."""
SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "model_type": "llama",
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 49152,
}


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_known_models_have_as_many_parameters_as_published(model: str) -> None:
    assert KNOWN[model].parameters() == PUBLISHED[model]
    assert KNOWN[model].weight_bytes(None) == 2 * PUBLISHED[model]


def test_a_config_file_is_understood() -> None:
    small = from_config(SMOLLM2)
    assert small is not None
    assert small.parameters() == 134_515_008
    assert small.cache_bytes_per_token() == 2 * 30 * 3 * 64 * 2


def test_experts_count_all_of_them() -> None:
    wide = from_config({**SMOLLM2, "num_experts": 4, "moe_intermediate_size": 1000})
    narrow = from_config({**SMOLLM2, "intermediate_size": 1000})
    assert wide is not None
    assert narrow is not None
    extra = 30 * (3 * 576 * 1000 * 3 + 576 * 4)
    assert wide.parameters() == narrow.parameters() + extra


def test_four_bits_leave_the_embeddings_whole() -> None:
    known = KNOWN["Qwen/Qwen2.5-7B-Instruct"]
    embeddings = 2 * 152_064 * 3584
    rest = PUBLISHED["Qwen/Qwen2.5-7B-Instruct"] - embeddings
    assert known.weight_bytes("bitsandbytes") == int(2 * embeddings + rest * 0.5625)


@pytest.mark.parametrize("config", [{}, {**SMOLLM2, "num_attention_heads": "x"}, {"text_config": {}}])
def test_a_config_that_is_not_understood_is_none(config: dict[str, object]) -> None:
    assert from_config(config) is None


def write_config(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(SMOLLM2), encoding="utf-8")
    return folder


def test_models_are_found_in_the_hubs_layout_and_in_local_folders(tmp_path: Path) -> None:
    hub = write_config(tmp_path / "huggingface" / "hub" / "models--a--one" / "snapshots" / "abc")
    local = write_config(tmp_path / "models--a--two")
    assert model_folder(tmp_path, "a/one") == hub
    assert model_folder(tmp_path, "a/two") == local
    assert model_folder(tmp_path, "a/three") is None
    for name in ("a/one", "a/two", str(local)):
        found = architecture(name, tmp_path)
        assert found is not None
        assert found.layers == 30
    assert architecture("a/three", tmp_path) is None
    assert architecture("Qwen/Qwen2.5-7B-Instruct", tmp_path) is KNOWN["Qwen/Qwen2.5-7B-Instruct"]


def service(command: str) -> ComposeService:
    return from_data({"services": {"x": {"command": command}}}, "p").services["x"]


def reckon(share: float, card: int) -> MemoryFit:
    model = "microsoft/Phi-3.5-mini-instruct"
    flags = f"--gpu-memory-utilization {share} --max-model-len 8192 --max-num-seqs 4"
    found = fit(service(f"{model} {flags}"), KNOWN[model], card)
    assert found is not None
    return found


def test_the_owners_sitechat_does_not_fit_and_the_share_that_would_is_named() -> None:
    found = reckon(0.18, 24 * GIB)
    assert not found.starts
    share = found.share_to_start()
    assert share == 0.49
    assert reckon(share, 24 * GIB).starts
    assert not reckon(share - 0.01, 24 * GIB).starts


def test_the_cache_of_one_full_request_is_layers_times_heads() -> None:
    found = reckon(0.9, 24 * GIB)
    assert found.one_sequence == 2 * 32 * 32 * 96 * 2 * 8192


def test_a_card_that_is_too_small_has_no_share() -> None:
    found = reckon(0.9, 8 * GIB)
    assert not found.starts
    assert found.share_to_start() is None


def test_flags_that_are_no_numbers_are_not_reckoned_with() -> None:
    known = KNOWN["Qwen/Qwen2.5-7B-Instruct"]
    assert fit(service("m --max-model-len auto"), known, 24 * GIB) is None
    plain = fit(service("m"), known, 24 * GIB)
    assert plain is not None
    assert (plain.share, plain.one_sequence) == (0.92, known.cache_bytes_per_token() * known.longest)
