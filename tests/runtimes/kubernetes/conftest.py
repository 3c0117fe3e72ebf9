"""One private control plane for the tests of a session, with two nodes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.cluster import Cluster


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """A cluster with a node of four GPUs."""
    with Cluster(gpu_1=4) as cluster:
        yield cluster


@pytest.fixture
def cluster(control_plane: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster without workloads; ``KUBECONFIG`` is its administrator's."""
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig()))
    yield control_plane
    control_plane.clear()
