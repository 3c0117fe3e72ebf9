"""What goes wrong with models, on real containers behind a running hotseat; one case for each fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.container_hotseat import Boxed
from fakes.dockerd import IMAGE, Dockerd
from fakes.hotseat import Hotseat, serving
from faults.cases import FaultsOfModels, error_event, models, refused

pytestmark = pytest.mark.system("dockerd", "docker", "iptables", "ip")

PUBLISHED = ["--publish", "127.0.0.1::8000"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hotseat")


@pytest.fixture(scope="module")
def moods(folder: Path) -> Path:
    """In the folder that the containers see."""
    (folder / "moods").mkdir()
    return folder / "moods"


@pytest.fixture(scope="module")
def hotseat(machine: Dockerd, folder: Path, moods: Path) -> Iterator[Hotseat]:
    ours = {
        "no-program": {"container": "no-program"},
        "no-container": {"container": "no-container"},
        "phases": {
            "engine": "vllm",
            "options": [
                *("--says", "Starting to load model Qwen/x...", "--says", "Loading weights took 1.2 seconds"),
                *("--says", "Graph capturing finished in 3 secs", "--ready-when", str(moods / "phases")),
            ],
        },
        "published": {"options": ["--start-s", "1"]},
        "published-resets": {"options": ["--resets"], "start_timeout": "1s"},
        "hungry": {"options": ["--mood", str(moods / "hungry")]},
    }
    options = {
        "published": PUBLISHED,
        "published-resets": PUBLISHED,
        "dies-in-stream": ["--init"],  # the first process of a namespace cannot kill itself
        "hungry": ["--memory", "64m", "--memory-swap", "64m"],
    }
    machine.docker("create", "--name", "no-program", IMAGE, "no-such-program")
    made = Boxed(machine, folder, {**models(moods), **ours}, options=options)
    machine.docker("rm", "no-container")
    yield from serving(made)


class TestContainers(FaultsOfModels):
    """The cases of all models, and those of containers alone."""

    def test_a_program_that_the_image_lacks_is_not_worth_waiting_for(self, hotseat: Hotseat) -> None:
        answer = hotseat.ask("no-program")
        assert answer.status == 400
        assert "the image does not have the program that the command names" in answer.error["message"]
        assert answer.headers["x-should-retry"] == "false"

    def test_a_container_that_nobody_made_is_told_of_with_what_to_do(self, hotseat: Hotseat) -> None:
        answer = hotseat.ask("no-container")
        assert answer.status == 400
        assert "there is no container no-container" in answer.error["message"]
        assert "docker create --name no-container" in answer.error["message"]
        assert answer.headers["x-should-retry"] == "false"

    def test_a_published_port_that_accepts_and_resets_is_not_ready(self, hotseat: Hotseat) -> None:
        assert hotseat.ask("published").status == 200
        assert hotseat.model("published")["starts"] == 1
        answer = hotseat.ask("published-resets")
        assert answer.error["code"] == "start_timeout"
        assert "was not ready within 1 s" in refused(answer)

    def test_a_server_killed_for_want_of_memory_says_so(self, hotseat: Hotseat, moods: Path) -> None:
        assert hotseat.ask("hungry").status == 200
        (moods / "hungry").write_text("hungry")
        assert "out of host memory" in error_event(hotseat.ask("hungry", stream=True))
        (moods / "hungry").unlink()
        assert hotseat.model("hungry")["last_error"]["oom"]
        assert hotseat.ask("hungry").status == 200

    def test_its_log_is_followed_while_it_starts(self, hotseat: Hotseat, moods: Path) -> None:
        hotseat.send("POST", "/admin/start", {"route": "phases"})
        for phase in ("loading weights", "compiling", "warming up"):
            hotseat.told(lambda line, said=phase: (line.get("model"), line.get("phase")) == ("phases", said))
        assert hotseat.model("phases")["phase"] == "warming up"
        (moods / "phases").touch()
        assert hotseat.ask("phases").status == 200
