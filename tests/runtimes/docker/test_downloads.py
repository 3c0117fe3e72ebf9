"""``seed: auto`` for models that are containers: where their cache lies on the host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes import containers
from fakes.container_hotseat import Boxed
from fakes.dockerd import IMAGE, Dockerd
from fakes.hotseat import Hotseat, serving
from fakes.hub import COMMIT, Hub
from fakes.hub import serving as hub_serving

pytestmark = pytest.mark.system("dockerd", "docker", "iptables", "ip")

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 4000}
TINY = "acme/tiny"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_serving({TINY: FILES}) as made:
        yield made


def compose_file(folder: Path, cache: str, **service: Any) -> Path:
    command = [*containers.command("chat"), "--model", TINY]
    made = {
        "image": IMAGE,
        "container_name": "chat",
        "command": command,
        "environment": {"HF_HOME": "/cache/huggingface", "HF_HUB_OFFLINE": "1"},
        "volumes": [f"{cache}:/cache:ro"],
        **service,
    }
    file = folder / "compose.yml"
    file.write_text(json.dumps({"services": {"chat": made}, "volumes": {"named": {}}}))
    return file


class Composed(Boxed):
    """Its containers are left to Compose."""

    def create(self, name: str, options: list[str]) -> None:
        return


def launcher(dockerd: Dockerd, folder: Path, hub: Hub, file: Path) -> Iterator[Hotseat]:
    model = {"compose": str(file), "engine": "vllm"}
    made = Composed(dockerd, folder, {"chat": model}, seed="auto")
    made.environment |= {"HF_ENDPOINT": hub.url, "HOME": str(folder)}
    return serving(made)


def test_files_go_where_the_container_will_look(dockerd: Dockerd, hub: Hub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    for hotseat in launcher(dockerd, tmp_path, hub, compose_file(tmp_path, "./cache")):
        assert hotseat.ask("chat").status == 200  # it serves what it was given to see
        assert hotseat.model("chat")["failures"] == 0
        place = cache / "huggingface/hub/models--acme--tiny/snapshots" / COMMIT / "model.safetensors"
        assert place.read_bytes() == FILES["model.safetensors"]
        launch = hotseat.send("GET", "/admin/launch/chat").json
        assert launch["image"].startswith(f"{IMAGE} (sha256:")
        assert launch["command"][-2:] == ["--model", TINY]
        # The container exists now: it is asked itself.
        assert hotseat.send("POST", "/admin/stop", {"route": "chat", "wait": True}).status == 200
        asked = len(hub.asked)
        assert hotseat.ask("chat").status == 200
        assert len(hub.asked) == asked


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        ("named", "in its container is not mounted from the host: a download would be lost"),
        ("/nowhere/at/all", "the launcher cannot see /nowhere/at/all/huggingface/hub"),
    ],
)
def test_a_cache_out_of_reach_is_told(
    cache: str, words: str, dockerd: Dockerd, hub: Hub, tmp_path: Path
) -> None:
    for hotseat in launcher(dockerd, tmp_path, hub, compose_file(tmp_path, cache)):
        answer = hotseat.ask("chat")
        assert answer.status == (400 if answer.error["code"] == "model_failed" else 503)
        assert words in answer.error["message"]
        assert hub.asked == []
        assert not dockerd.docker("ps", "-aq").stdout.split()  # nothing was made for nothing
