"""hotseat killed with SIGKILL at every moment of a container's life: the next one takes it back."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fakes.container_hotseat import Boxed, Client, under_way
from fakes.dockerd import Dockerd
from fakes.hotseat import serving

pytestmark = pytest.mark.system("dockerd", "docker", "iptables", "ip")

SLOW = ["--tokens", "10000", "--token-interval-s", "0.05"]


@contextmanager
def running(made: Boxed) -> Iterator[Boxed]:
    yield from serving(made)  # type: ignore[misc]


def boxed(dockerd: Dockerd, folder: Path, options: list[str]) -> Boxed:
    return Boxed(dockerd, folder, {"chat": {"options": options, "stop_grace": "2s"}})


def killed(made: Boxed, client: Client | None = None) -> None:
    made.kill()
    if client is not None:
        with suppress(OSError, http.client.HTTPException):  # whoever was there hears no more
            client.answer()


def stop(made: Boxed) -> threading.Thread:
    """An order to stop that is never answered."""

    def order() -> None:
        with suppress(OSError, http.client.HTTPException):
            made.send("POST", "/admin/stop", {"route": "chat", "wait": True})

    thread = threading.Thread(target=order)
    thread.start()
    return thread


def adopted(made: Boxed, began: str) -> None:
    """The same start of the container answers; nothing was started beside it or instead of it."""
    assert made.send("GET", "/chat/v1/models").status == 200
    assert made.started("chat") == began
    assert made.model("chat")["starts"] == 0
    assert len(made.engines()) == 1


def test_while_it_starts(dockerd: Dockerd, tmp_path: Path) -> None:
    made = boxed(dockerd, tmp_path, ["--ready-when", str(tmp_path / "ready")]).start()
    client = under_way(made, "chat", "loading")
    began = made.started("chat")
    killed(made, client)
    with running(made):
        made.told(lambda line: line["event"] == "found running")
        (tmp_path / "ready").touch()
        adopted(made, began)


@pytest.mark.parametrize("moment", ["serving", "streaming", "draining"])
def test_while_it_serves(dockerd: Dockerd, tmp_path: Path, moment: str) -> None:
    made = boxed(dockerd, tmp_path, SLOW).start()
    assert made.send("GET", "/chat/v1/models").status == 200
    client, order = None, None
    if moment != "serving":
        client = under_way(made, "chat", "streaming")
    if moment == "draining":
        order = stop(made)
        made.moved("chat", "draining")
    began = made.started("chat")
    killed(made, client)
    if order is not None:
        order.join()
    with running(made):
        adopted(made, began)


def test_while_it_stops(dockerd: Dockerd, tmp_path: Path) -> None:
    """The engine goes on with the stop; whoever asks meanwhile hears of it once at most."""
    made = boxed(dockerd, tmp_path, ["--ignores-stop"]).start()
    assert made.ask("chat").status == 200
    began = made.started("chat")
    order = stop(made)
    made.moved("chat", "stopping")
    killed(made)
    order.join()
    with running(made):
        answers = [made.send("GET", "/chat/v1/models").status for _ in range(3)]
        assert answers.count(200) >= 2
        assert answers[-1] == 200
        made.until("chat", lambda stats: stats["state"] == "ready" and stats["starts"] <= 1)
        assert len(made.engines()) == 1
        assert (made.started("chat") == began) is (made.model("chat")["starts"] == 0)


def test_a_container_whose_model_is_gone_is_its_operators(dockerd: Dockerd, tmp_path: Path) -> None:
    """It is neither stopped nor served: hotseat removes nothing that it did not make."""
    made = boxed(dockerd, tmp_path, []).start()
    assert made.ask("chat").status == 200
    began = made.started("chat")
    killed(made)
    made.write({"coder": []})
    with running(made):
        assert made.ask("coder").status == 200
        assert made.send("POST", "/chat/v1/completions", {"model": "chat"}).status == 404
        assert made.started("chat") == began
        dockerd.docker("rm", "-f", "chat")
