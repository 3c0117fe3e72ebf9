"""``hotseat seed`` with the real ``huggingface_hub``, against a small hub on loopback."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from huggingface_hub import constants

from fakes.hub import COMMIT, Hub, serving
from hotseat.cli import main
from hotseat.weights.wanted import WantedFiles, of_command, parse, plain_folder

LIMIT_S = 120
TINY = "acme/tiny"
WEIGHTS = bytes(range(256)) * 4000
FILES = {
    "config.json": b'{"model_type": "tiny"}',
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": WEIGHTS,
    "tokenizer/vocab.txt": b"a\nb\n",
}
SNAPSHOT = Path("huggingface/hub/models--acme--tiny/snapshots") / COMMIT


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving({TINY: FILES, "acme/other": {"config.json": b"{}"}}) as made:
        yield made


Ended = tuple[int, str, str]
"""Exit status, standard output and standard error."""


def environment(hub: Hub, cache: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.url, "HOME": str(cache), "HF_HUB_ETAG_TIMEOUT": "60"}


def seed(hub: Hub, cache: Path, *words: str, **more: str) -> Ended:
    others = {name: None for name in os.environ if name.startswith(("HF_", "HOTSEAT", "CACHE_DIR"))}
    runner = CliRunner(env=others | environment(hub, cache) | more)
    result = runner.invoke(main, ["seed", "--cache", str(cache), *words], prog_name="hotseat")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.stdout, result.stderr


def process(
    hub: Hub, cache: Path, *words: str, limit: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HOTSEAT"))}
    return subprocess.Popen(
        [sys.executable, "-m", "hotseat", "seed", "--cache", str(cache), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env | environment(hub, cache),
        preexec_fn=limit,
    )


def ended(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=LIMIT_S)
    assert "Traceback" not in err
    return process.returncode, out, err


def test_a_model_is_fetched_verified_and_left_alone_afterwards(hub: Hub, tmp_path: Path) -> None:
    status, out, err = seed(hub, tmp_path, TINY)
    assert (status, err) == (0, "")
    assert "3 checksums verified" in out
    assert (tmp_path / SNAPSHOT / "model.safetensors").read_bytes() == WEIGHTS
    assert (tmp_path / SNAPSHOT / "tokenizer/vocab.txt").is_file()
    assert not (tmp_path / SNAPSHOT / "pytorch_model.bin").exists()  # the same weights again
    assert (tmp_path / SNAPSHOT / "../../refs/main").read_text() == COMMIT
    status, out, _ = seed(hub, tmp_path, TINY)
    assert status == 0
    assert "0 bytes to download" in out
    assert hub.downloads("model.safetensors") == [None]


def test_a_dry_run_fetches_nothing(hub: Hub, tmp_path: Path) -> None:
    status, out, _ = seed(hub, tmp_path, "--dry-run", f"{TINY}@v1")
    assert status == 0
    assert f"commit {COMMIT}" in out
    assert "1000 KiB to download" in out
    assert hub.downloads("model.safetensors") == []
    assert not (tmp_path / SNAPSHOT).exists()


def test_a_cut_download_goes_on_where_it_was(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 65536)  # what is not a whole chunk is lost
    hub.cuts["model.safetensors"] = 300_000
    status, _, _ = seed(hub, tmp_path, TINY)
    assert status == 0
    first, second = hub.downloads("model.safetensors")
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 300_000
    assert (tmp_path / SNAPSHOT / "model.safetensors").read_bytes() == WEIGHTS


def test_a_wrong_checksum_is_seen_and_the_file_removed(hub: Hub, tmp_path: Path) -> None:
    hub.damaged.add("model.safetensors")
    status, _, err = seed(hub, tmp_path, TINY)
    assert status == 1
    assert "wrong checksum, removed: model.safetensors" in err
    assert not (tmp_path / SNAPSHOT / "model.safetensors").exists()
    hub.damaged.clear()
    assert seed(hub, tmp_path, TINY)[0] == 0
    assert (tmp_path / SNAPSHOT / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.downloads("config.json") == [None]  # only the damaged one came again


def test_a_gated_model_wants_a_token(hub: Hub, tmp_path: Path) -> None:
    token = "hf_" + "t" * 30
    hub.gated[TINY] = token
    status, _, err = seed(hub, tmp_path, TINY)
    assert status == 1
    assert "gated: accept its terms" in err
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    status, out, err = seed(hub, tmp_path, "--token-file", str(file), TINY)
    assert status == 0, err
    assert token not in out + err
    assert seed(hub, tmp_path, TINY, HF_TOKEN=token)[0] == 0


def test_unknown_models_and_revisions_do_not_stop_the_others(hub: Hub, tmp_path: Path) -> None:
    status, out, err = seed(hub, tmp_path, "acme/nothing", f"{TINY}@v9", "acme/other")
    assert status == 1
    assert "acme/nothing: there is no such model" in err
    assert f"{TINY}@v9: there is no such revision" in err
    assert "acme/other: ready" in out


def test_too_little_room_is_told_before_anything_is_fetched(hub: Hub, tmp_path: Path) -> None:
    hub.size_told["model.safetensors"] = 1 << 60
    status, _, err = seed(hub, tmp_path, TINY)
    assert status == 1
    assert "not enough disk space" in err
    assert hub.downloads("config.json") == []


def test_a_disk_that_fills_up_meanwhile(hub: Hub, tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    status, _, err = ended(process(hub, tmp_path, TINY, limit=small_files))
    assert status == 1
    assert "whole files are kept" in err
    assert not (tmp_path / SNAPSHOT / "model.safetensors").exists()
    assert seed(hub, tmp_path, TINY)[0] == 0


def test_no_hub(hub: Hub, tmp_path: Path) -> None:
    status, _, err = seed(hub, tmp_path, TINY, HF_ENDPOINT="http://127.0.0.1:9")
    assert status == 1
    assert "the hub was not reached" in err


def test_interrupted(hub: Hub, tmp_path: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()
    plain = hub.answer

    def slow(request) -> None:  # type: ignore[no-untyped-def]
        if request.command == "GET" and request.path.endswith("model.safetensors"):
            reached.set()
            go_on.wait(LIMIT_S)
        plain(request)

    hub.answer = slow  # type: ignore[method-assign]
    running = process(hub, tmp_path, TINY)
    assert reached.wait(LIMIT_S)
    running.send_signal(signal.SIGINT)
    status, _, err = ended(running)
    go_on.set()
    assert status == 130
    assert "run the command again to resume" in err
    assert not list(tmp_path.rglob("*.incomplete"))


def test_models_of_a_configuration(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text(
        yaml.safe_dump(
            {"services": {"s": {"image": "vllm/vllm-openai", "container_name": "box", "command": [TINY]}}}
        )
    )
    models = {
        "chat": {"container": "box", "compose": {"file": "docker-compose.yml"}, "footprint": 0.1},
        "coder": {"command": "vllm serve acme/other --port {port} --revision v1"},
        "own": {"command": ["other-server", "{port}"]},
    }
    file = tmp_path / "hotseat.yaml"
    file.write_text(yaml.safe_dump({"models": models}))
    status, out, err = seed(hub, tmp_path, "-c", str(file), "--dry-run")
    assert status == 0
    assert [line.split(":")[0] for line in out.splitlines()[:2]] == [TINY, "acme/other@v1"]
    assert "own: skipped, its command names no model" in err
    status, out, _ = seed(hub, tmp_path, "-c", str(file), "--dry-run", "coder")
    assert (status, TINY in out) == (0, False)
    assert seed(hub, tmp_path, "-c", str(file), "nobody")[0] == 2


def test_a_folder_of_its_own_is_used_as_it_is(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "models--acme--tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x")
    status, out, _ = seed(hub, tmp_path, TINY)
    assert status == 0
    assert str(folder) in out
    assert hub.asked == []
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}')
    assert plain_folder([tmp_path], WantedFiles(repository=TINY)) is None  # a part is missing


def test_what_commands_name() -> None:
    assert of_command(["vllm", "serve", "a/b", "--port", "1"]) == WantedFiles(repository="a/b")
    assert of_command(["python", "-m", "vllm.entrypoints.openai.api_server", "--model=a/b"]) == parse("a/b")
    assert of_command(["a/b", "--revision", "v1"]) == parse("a/b@v1")
    assert of_command(["vllm", "serve", "/models/own"]) is None
    assert parse("a/b@") is None
    assert parse("chat") is None
