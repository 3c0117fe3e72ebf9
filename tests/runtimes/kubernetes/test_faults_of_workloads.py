"""What goes wrong with models, on a real control plane behind a running hotseat with the exported rights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.cluster import Cluster
from fakes.cluster_hotseat import Clustered
from fakes.hotseat import Hotseat, serving
from faults.cases import FaultsOfModels, models, refused

pytestmark = pytest.mark.system("etcd", "go", "dpkg-source", "openssl")


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("moods")


@pytest.fixture(scope="module")
def hotseat(
    control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory, moods: Path
) -> Iterator[Hotseat]:
    ours = {
        "no-image": {},
        "no-workload": {},
        "phases": {
            "engine": "vllm",
            "options": [
                *("--says", "Starting to load model Qwen/x...", "--says", "Loading weights took 1.2 seconds"),
                *("--says", "Graph capturing finished in 3 secs", "--ready-when", str(moods / "phases")),
            ],
        },
    }
    notes = {"no-image": {"fakes/pull-fails": "manifest unknown"}}
    made = Clustered(
        control_plane,
        tmp_path_factory.mktemp("hotseat"),
        {**models(moods), **ours},
        notes=notes,
        missing=frozenset({"no-workload"}),
    )
    yield from serving(made)


class TestWorkloads(FaultsOfModels):
    """The cases of all models, and those of workloads alone."""

    def test_an_image_that_cannot_be_pulled_is_told_of(self, hotseat: Hotseat) -> None:
        assert "ImagePullBackOff: Back-off pulling image" in refused(hotseat.ask("no-image"))

    def test_a_workload_that_nobody_made_is_told_of_with_what_to_do(self, hotseat: Hotseat) -> None:
        answer = hotseat.ask("no-workload")
        assert answer.status == 400
        assert "there is no deployment/no-workload in namespace default" in answer.error["message"]
        assert "hotseat export kubernetes" in answer.error["message"]
        assert answer.headers["x-should-retry"] == "false"

    def test_its_log_is_followed_while_it_starts(self, hotseat: Hotseat, moods: Path) -> None:
        hotseat.send("POST", "/admin/start", {"route": "phases"})
        for phase in ("loading weights", "compiling", "warming up"):
            hotseat.told(lambda line, said=phase: (line.get("model"), line.get("phase")) == ("phases", said))
        (moods / "phases").touch()
        assert hotseat.ask("phases").status == 200
