"""One private Docker Engine for the tests of a session, and models of the fake server as its containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.dockerd import Dockerd


@pytest.fixture(scope="session")
def machine() -> Iterator[Dockerd]:
    """An engine with the image of this machine's Python."""
    with Dockerd() as engine:
        engine.add_image()
        yield engine


@pytest.fixture
def dockerd(machine: Dockerd) -> Iterator[Dockerd]:
    """The engine, up, without containers."""
    if not machine.running:
        machine.start()
    yield machine
    if not machine.running:
        machine.start()
    machine.remove_containers()
