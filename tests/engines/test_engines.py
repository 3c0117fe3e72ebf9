"""What is read from commands and from the lines that servers write."""

from __future__ import annotations

import pytest

from hotseat.core.errors import Reason
from hotseat.engines.base import LINES_SHOWN, explained
from hotseat.engines.pick import ENGINES, engine_named, engine_of

VLLM, OPENAI = engine_named("vllm"), engine_named("openai")


@pytest.mark.parametrize(
    ("command", "engine"),
    [
        ("vllm serve Qwen/Qwen3-4B", "vllm"),
        ("/opt/venv/bin/vllm serve m", "vllm"),
        ("python -m vllm.entrypoints.openai.api_server --model m", "vllm"),
        ("env A=1 uv run vllm serve m", "vllm"),
        ("llama-server -m x.gguf", "openai"),
        ("my-server serve --cache /models/vllm", "openai"),
        ("python demo/engine.py --port {port}", "openai"),
        ("", "openai"),
    ],
)
def test_the_kind_is_guessed_from_the_command(command: str, engine: str) -> None:
    assert engine_of(command.split()) is ENGINES[engine]


def test_the_kind_is_guessed_from_a_shells_script_and_from_an_image() -> None:
    assert engine_of(["bash", "-lc", "exec vllm serve m --max-num-seqs 4"]) is VLLM
    assert VLLM.max_num_seqs(["bash", "-lc", "exec vllm serve m --max-num-seqs 4"]) == 4
    assert engine_of(["Qwen/Qwen3-4B"], image="vllm/vllm-openai:v0.33.0") is VLLM
    assert engine_of(["sh", "-c", "echo 'unfinished"]) is OPENAI


@pytest.mark.parametrize(
    ("flags", "share"),
    [
        ("--gpu-memory-utilization 0.18", 0.18),
        ("--gpu-memory-utilization=0.9", 0.9),
        ("--gpu_memory_utilization 0.5", 0.5),
        ("--gpu_memory_utilization=0.5", 0.5),
        ("--gpu-memory-utilization 0.5 --gpu-memory-utilization 0.7", 0.7),
        ("--gpu-memory-utilization 1", 1.0),
        ("--gpu-memory-utilization 0", None),
        ("--gpu-memory-utilization 90", None),
        ("--gpu-memory-utilization nan", None),
        ("--gpu-memory-utilization ${UTIL}", None),
        ("--gpu-memory-utilization", None),
        ("--gpu-memory-utilization 0.5 --kv-cache-memory-bytes 1000", None),
        ("--max-model-len 8192", None),
    ],
)
def test_the_footprint_is_read(flags: str, share: float | None) -> None:
    command = f"vllm serve m {flags}".split()
    assert VLLM.footprint_share(command) == share
    assert OPENAI.footprint_share(command) is None


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("vllm serve org/m --port 1", ("org/m",)),
        ("vllm serve org/m --served-model-name a b --port 1", ("a", "b")),
        ("vllm serve org/m --served-model-name=a --port 1", ("a",)),
        ("vllm serve org/m --served_model_name a", ("a",)),
        ("vllm serve --model org/m --port 1", ("org/m",)),
        ("python -m vllm.entrypoints.openai.api_server --model=org/m", ("org/m",)),
        ("org/m --port 8000", ("org/m",)),
        ("serve org/m", ("org/m",)),
        ("--model org/m", ("org/m",)),
        ("vllm serve --port 8000", ()),
        ("vllm serve", ()),
        ("", ()),
    ],
)
def test_served_names_are_read(command: str, names: tuple[str, ...]) -> None:
    assert VLLM.served_names(command.split()) == names


def test_of_other_servers_only_llama_cpps_alias_is_known() -> None:
    command = ["llama-server", "-m", "x.gguf", "-a", "small,tiny", "--port", "1"]
    assert OPENAI.served_names(command) == ("small", "tiny")
    assert OPENAI.served_names(["llama-server", "-m", "x.gguf"]) == ()
    assert OPENAI.served_names(["my-server", "-a", "yes"]) == ()
    assert OPENAI.max_num_seqs(["my-server", "--max-num-seqs", "2"]) is None
    assert OPENAI.lora_names(["my-server", "--lora-modules", "a=b"]) == ()


def test_lora_names_are_read() -> None:
    json = '{"name": "chat", "path": "/x=y"}'
    command = ["vllm", "serve", "m", "--lora-modules", "sql=/l/sql", json, "-O3"]
    assert VLLM.lora_names(command) == ("sql", "chat")
    assert VLLM.lora_names(["vllm", "serve", "m", "--lora-modules=sql=/l/sql"]) == ("sql",)
    assert VLLM.lora_names(["vllm", "serve", "m", "--lora-modules", "{broken", '{"path": 1}', "plain"]) == ()


@pytest.mark.parametrize(
    ("flags", "count"),
    [("--max-num-seqs 8", 8), ("--max_num_seqs=4", 4), ("--max-num-seqs x", None), ("", None)],
)
def test_max_num_seqs_is_read(flags: str, count: int | None) -> None:
    assert VLLM.max_num_seqs(f"vllm serve m {flags}".split()) == count


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        (
            "INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='m'",
            "starting engine",
        ),
        ("INFO Starting to load model Qwen/Qwen3-4B...", "loading weights"),
        ("Loading safetensors checkpoint shards:  50% Completed | 1/2", "loading weights"),
        ("INFO Loading weights took 3.21 seconds", "compiling"),
        ("INFO Model loading took 7.6 GiB memory and 4.000000 seconds", "compiling"),
        ("INFO Finished loading model", "compiling"),
        ("INFO [backbone] torch.compile took 21.50 s in total", "capturing graphs"),
        ("Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 10%", "capturing graphs"),
        ("INFO Graph capturing finished in 12 secs, took 0.5 GiB", "warming up"),
        (
            "INFO init engine (profile, create kv cache, warmup model) took 40.00 s (compilation: 21.50 s)",
            "starting server",
        ),
        ("INFO Starting vLLM server on http://0.0.0.0:8000", "starting server"),
        ("INFO Starting vLLM API server 0 on http://0.0.0.0:8000", "starting server"),
        ("INFO:     Started server process [1]", "starting server"),
        ("INFO:     Waiting for application startup.", "starting server"),
        ("INFO:     Application startup complete.", "ready"),
        ("INFO:     Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)", "ready"),
        ("INFO 127.0.0.1 - GET /health 200", None),
    ],
)
def test_vllms_lines_tell_its_phase(line: str, phase: str | None) -> None:
    assert VLLM.phase(line) == phase


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        ("INFO:     Uvicorn running on http://0.0.0.0:8000", "ready"),
        ("main: loading model", "loading weights"),
        ("main: server is listening on http://127.0.0.1:8080", "starting server"),
        ("hello", None),
    ],
)
def test_other_servers_lines_tell_a_little(line: str, phase: str | None) -> None:
    assert OPENAI.phase(line) == phase


@pytest.mark.parametrize(
    ("line", "summary", "permanent", "oom"),
    [
        (
            "ValueError: Free memory on device (2.1/24.0 GiB) on startup is less than desired GPU memory "
            "utilization (0.9, 21.6 GiB).",
            "not enough free GPU memory",
            False,
            True,
        ),
        (
            "ValueError: No available memory for the cache blocks. Try",
            "no memory left for the KV cache",
            False,
            True,
        ),
        ("To serve at least one request with the model's max seq len (8192), 1 GiB", "KV cache", False, True),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried", "out of GPU memory", False, True),
        ("requests.exceptions.HTTPError: 401 Client Error: Unauthorized", "gated", True, False),
        ("OSError: You are trying to access a gated repo.", "gated", True, False),
        (
            "OSError: no is not a local folder and is not a valid model identifier",
            "no such model",
            True,
            False,
        ),
        ("OSError: [Errno 28] No space left on device", "the disk is full", False, False),
        ("vllm: error: unrecognized arguments: --bogus 1", "unknown flag --bogus", True, False),
        ("api_server.py: error: argument --port: invalid int value: 'x'", "flag --port", True, False),
        ("ValueError: Unknown quantization method: bitsandbytes.", "unknown quantization", True, False),
        ("ValueError: Model architectures ['X'] are not supported for now.", "architecture", True, False),
        ("OSError: [Errno 98] Address already in use", "its port is taken", False, False),
        ("RuntimeError: No CUDA GPUs are available", "no GPU was found", False, False),
        ("huggingface_hub.errors.LocalEntryNotFoundError: Cannot", "not in the cache", False, False),
        ("vllm.v1.engine.exceptions.EngineDeadError: EngineCore", "its engine died", False, False),
    ],
)
def test_failure_lines_are_understood(line: str, summary: str, permanent: bool, oom: bool) -> None:
    hint = VLLM.hint(["INFO nothing", line, "Traceback (most recent call last):"])
    assert hint is not None
    assert summary in hint.summary
    assert (hint.permanent, hint.oom) == (permanent, oom)


def test_nothing_is_made_of_lines_that_say_nothing() -> None:
    reason = Reason(summary="exited with code 1", exit_code=1, lines=("hello",))
    for engine in ENGINES.values():
        assert engine.hint(["hello", ""]) is None
        assert explained(reason, engine) is reason


def test_settings_that_are_only_listed_are_not_taken_for_events() -> None:
    dump = "Initializing an engine with config: trust_remote_code=True, 'cudagraph_mode': 2, HF_HUB_OFFLINE=1"
    assert VLLM.phase(dump) is None
    assert VLLM.hint([dump]) is None


def test_the_cause_beats_what_follows_from_it() -> None:
    lines = ["EngineDeadError", "CUDA out of memory", "RuntimeError: Engine core initialization failed"]
    reason = explained(Reason(summary="exited with code 1", exit_code=1), VLLM, lines)
    assert reason.summary == "out of GPU memory"
    assert reason.oom
    assert reason.exit_code == 1


def test_values_of_unknown_flags_stay_secret() -> None:
    for text in ("--api-kye sk-secret", "--api-kye=sk-secret", "sk-secret --api-kye"):
        hint = VLLM.hint([f"vllm: error: unrecognized arguments: {text}"])
        assert hint is not None
        assert hint.summary == "unknown flag --api-kye"


def test_llama_cpps_unknown_flag_is_permanent() -> None:
    hint = OPENAI.hint(["error: invalid argument: --bogus"])
    assert hint is not None
    assert (hint.summary, hint.permanent) == ("unknown flag --bogus", True)


def test_of_many_lines_the_last_are_shown_and_the_one_that_tells_the_cause() -> None:
    after = [f"line {number}" for number in range(100)]
    reason = explained(Reason(summary="x", lines=("CUDA out of memory", *after)), VLLM)
    assert reason.lines == ("CUDA out of memory", *after[-LINES_SHOWN + 1 :])
    assert explained(Reason(summary="x", lines=tuple(after)), VLLM).lines == tuple(after[-LINES_SHOWN:])
    told = explained(Reason(summary="x", lines=(*after, "CUDA out of memory")), VLLM)
    assert told.lines == (*after[-LINES_SHOWN + 1 :], "CUDA out of memory")


@pytest.mark.parametrize(
    ("line", "summary"),
    [
        (
            "TimeoutError: Timed out waiting for engine core processes to start. This is",
            "did not start in time",
        ),
        ("ERROR Failed to load model - not enough GPU memory. Try lowering", "out of GPU memory"),
        (
            "Free memory on device cuda:0 (1/24 GiB) on startup is less than the engine's budget after",
            "not enough free GPU memory",
        ),
        ("OSError: Error no file named model.safetensors found in /m", "weights are missing"),
        ("Available memory on node 0 (1/12 GiB) on startup is less than desired CPU memory", "free memory"),
    ],
)
def test_wordings_that_were_read_in_its_source(line: str, summary: str) -> None:
    hint = VLLM.hint([line])
    assert hint is not None
    assert summary in hint.summary
