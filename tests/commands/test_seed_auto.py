"""``seed: auto`` through the whole launcher: the real ``huggingface_hub`` and a small hub on loopback."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes.hotseat import LIMIT_S, Answer, Hotseat, serving
from fakes.hub import COMMIT, Hub
from fakes.hub import serving as hub_serving
from hotseat.runtimes.process import procfs

TINY = "acme/tiny"
WEIGHTS = bytes(range(256)) * 120_000
"""Three of the pieces in which the library writes."""
FILES = {"config.json": b'{"model_type": "tiny"}', "model.safetensors": WEIGHTS, "tokenizer.json": b"{}"}
TOKEN = "hf_" + "t" * 30


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_serving({TINY: FILES, "acme/other": FILES}) as made:
        yield made
        for _, event in made.pauses.values():
            event.set()


def hub_model(cache: Path, name: str = TINY, *options: str, **more: Any) -> dict[str, Any]:
    env = {
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "1",
    }  # the server's: a download needs the hub all the same
    return {"engine": "vllm", "options": ["--model", name, *options], "env": env, **more}


@contextmanager
def launcher(
    folder: Path,
    hub: Hub | str,
    models: Mapping[str, Any],
    env: Mapping[str, str] | None = None,
    **config: Any,
) -> Iterator[Hotseat]:
    url = hub if isinstance(hub, str) else hub.url
    more = {"HF_ENDPOINT": url, "HF_HUB_ETAG_TIMEOUT": "60", "HOME": str(folder), **(env or {})}
    yield from serving(Hotseat(folder, models, env=more, **{"seed": "auto", **config}))


class Asking(threading.Thread):
    """A client that waits for its answer."""

    def __init__(self, hotseat: Hotseat, model: str, **body: Any) -> None:
        super().__init__(daemon=True)
        self._ask = lambda: hotseat.ask(model, **body)
        self.answer: Answer | None = None
        self.start()

    def run(self) -> None:
        self.answer = self._ask()

    def ended(self) -> Answer:
        self.join(LIMIT_S)
        assert self.answer is not None
        return self.answer


def paused(hub: Hub, after: int = 22_000_000) -> threading.Event:
    event = threading.Event()
    hub.pauses["model.safetensors"] = (after, event)
    return event


def half_way(model: dict[str, Any]) -> bool:
    """Two pieces of three are on the disk."""
    return re.fullmatch(r"6\d %", model["phase"] or "") is not None


def test_the_first_request_is_held_and_told(hub: Hub, tmp_path: Path) -> None:
    go_on = paused(hub)
    models = {"chat": hub_model(tmp_path / "hf"), "short": hub_model(tmp_path / "hf", max_hold="100ms")}
    with launcher(tmp_path, hub, models, hold_headers_s="100ms") as hotseat:
        client = Asking(hotseat, "chat")
        seen = hotseat.until("chat", half_way)
        assert (seen["state"], seen["phase"][-2:]) == ("downloading", " %")
        assert seen["footprint"] == {}
        route = hotseat.send("GET", "/routes").json["routes"]["chat"]
        assert (route["state"], route["phase"][-2:]) == ("downloading", " %")
        told = next(one for one in hotseat.send("GET", "/v1/models").json["data"] if one["id"] == "chat")
        assert told["status"]["value"] == "loading"
        status = hotseat.command("status").stdout
        assert re.search(r"downloading \(6\d %", status)  # what was sent may still be on its way to the disk
        # one that is not held so long
        late = hotseat.ask("short")
        assert (late.status, late.error["code"]) == (503, "model_loading")
        assert "downloading" in late.error["message"]
        assert "retry-after" in late.headers
        # a stream
        stream = http.client.HTTPConnection("127.0.0.1", hotseat.port, timeout=LIMIT_S)
        stream.request(
            "POST", "/chat/v1/chat/completions", json.dumps({"model": "chat", "stream": True}),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        response = stream.getresponse()
        comment = response.readline().decode()
        assert comment.startswith(": hotseat chat: downloading, ")
        assert "%" in comment
        go_on.set()
        assert client.ended().status == 200
        assert b"[DONE]" in response.read()
        stream.close()
        model = hotseat.model("chat")
        assert (model["starts"], model["failures"]) == (1, 0)
        # the weights are shared: nothing is fetched twice
        hotseat.until("short", lambda model: model["state"] == "stopped")
        assert hotseat.send("POST", "/admin/start", {"route": "short", "wait": True}).status == 200
        assert len(hub.downloads("model.safetensors")) == 1
    snapshot = tmp_path / "hf/hub/models--acme--tiny/snapshots" / COMMIT
    assert (snapshot / "model.safetensors").read_bytes() == WEIGHTS


def test_what_is_there_is_served_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    models = {"chat": hub_model(tmp_path / "hf")}
    with launcher(tmp_path, hub, models) as hotseat:
        assert hotseat.ask("chat").status == 200
    with launcher(tmp_path, "http://127.0.0.1:9", models) as hotseat:
        assert hotseat.ask("chat").status == 200
        assert not any(line["event"] == "downloading" for line in hotseat.lines)


def test_two_models_with_the_same_weights_are_one_download(hub: Hub, tmp_path: Path) -> None:
    go_on = paused(hub)
    models = {name: hub_model(tmp_path / "hf") for name in ("one", "two")}
    with launcher(tmp_path, hub, models) as hotseat:
        clients = [Asking(hotseat, name) for name in models]
        for name in models:
            hotseat.until(name, half_way)
        assert len(hub.downloads("model.safetensors")) == 1
        go_on.set()
        assert [client.ended().status for client in clients] == [200, 200]
    assert len(hub.downloads("model.safetensors")) == 1


def test_off_says_what_to_run(hub: Hub, tmp_path: Path) -> None:
    with launcher(tmp_path, hub, {"chat": hub_model(tmp_path / "hf")}, seed="off") as hotseat:
        answer = hotseat.ask("chat")
        assert answer.status == 503
        assert "download it first: hotseat seed" in answer.error["message"]
        assert hub.asked == []


def refused(hotseat: Hotseat, model: str = "chat") -> Answer:
    answer = hotseat.ask(model)
    assert answer.status == (400 if answer.error["code"] == "model_failed" else 503)
    assert hotseat.model(model)["starts"] == 0
    return answer


def test_a_gated_model_says_which_token_and_takes_a_new_one_without_a_restart(
    hub: Hub, tmp_path: Path
) -> None:
    hub.gated[TINY] = TOKEN
    env_file = tmp_path / ".env"
    env_file.write_text("")
    models = {"chat": hub_model(tmp_path / "hf")}
    env = {"HOTSEAT_ENV_FILE": str(env_file)}
    with launcher(tmp_path, hub, models, env=env) as hotseat:
        answer = refused(hotseat)
        assert answer.error["code"] == "model_failed"
        assert answer.headers["x-should-retry"] == "false"
        assert "gated: accept its terms on its page at the hub, and set HF_TOKEN" in answer.error["message"]
        asked = len(hub.asked)
        for _ in range(3):
            assert refused(hotseat).status == 400
        assert len(hub.asked) == asked  # the hub is left in peace
        env_file.write_text("HF_TOKEN=hf_wrong\n")
        told = hotseat.send("POST", "/admin/start", {"route": "chat", "wait": True})
        assert told.status == 400
        assert "the token that was given (HF_TOKEN) does not open it" in told.error["message"]
        env_file.write_text(f"HF_TOKEN={TOKEN}\n")
        assert hotseat.send("POST", "/admin/start", {"route": "chat", "wait": True}).status == 200
        assert TOKEN not in json.dumps(hotseat.lines)


def test_unknown_models_full_disks_and_no_network_are_told(hub: Hub, tmp_path: Path) -> None:
    models = {
        "nothing": hub_model(tmp_path / "hf", "acme/nothing"),
        "huge": hub_model(tmp_path / "hf", "acme/other"),
        "away": hub_model(tmp_path / "hf")
        | {"env": {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}},
        "late": hub_model(tmp_path / "hf", TINY, "--revision", "v9"),
    }
    with launcher(tmp_path, hub, models) as hotseat:
        answer = refused(hotseat, "nothing")
        assert answer.error["code"] == "model_failed"
        assert "there is no such model" in answer.error["message"]
        assert "there is no such revision" in refused(hotseat, "late").error["message"]
        hub.size_told["model.safetensors"] = 1 << 60
        answer = refused(hotseat, "huge")
        assert answer.error["code"] == "model_backoff"
        assert "more free space" in answer.error["message"]
        assert int(answer.headers["retry-after"]) >= 1
        answer = refused(hotseat, "away")
        assert answer.error["code"] == "model_backoff"
        assert "the hub was not reached" in answer.error["message"]
        assert hotseat.model("away")["last_error"]["summary"].startswith("download: acme/tiny: the hub was")


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def mine(tmp_path: Path) -> list[int]:
    """Downloads into this folder that go on."""
    found = procfs.processes(lambda p: True)
    return [one.pid for one in found if b"weights.child\0" + str(tmp_path).encode() in _cmdline(one.pid)]


def test_a_stopped_download_ends_and_keeps_whole_files(hub: Hub, tmp_path: Path) -> None:
    first = paused(hub)
    with launcher(tmp_path, hub, {"chat": hub_model(tmp_path / "hf")}) as hotseat:
        client = Asking(hotseat, "chat")
        hotseat.until("chat", half_way)
        assert len(mine(tmp_path)) == 1
        assert hotseat.send("POST", "/admin/stop", {"route": "chat", "wait": True}).status == 200
        assert client.ended().error["code"] == "model_stopped"
        hotseat.until("chat", lambda model: model["state"] == "stopped" and not mine(tmp_path))
        assert not list(tmp_path.rglob("*.incomplete"))  # of no use to anybody
        first.set()
        hub.pauses.clear()
        assert hotseat.ask("chat").status == 200
        assert hub.downloads("config.json") == [None]


def test_a_cut_connection_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.cuts["model.safetensors"] = 22_000_000
    with launcher(tmp_path, hub, {"chat": hub_model(tmp_path / "hf")}) as hotseat:
        assert hotseat.ask("chat").status == 200
    start, again = hub.downloads("model.safetensors")
    assert start is None
    assert again == "bytes=20971520-"


def test_a_client_that_goes_leaves_the_download_to_the_next(hub: Hub, tmp_path: Path) -> None:
    go_on = paused(hub)
    with launcher(tmp_path, hub, {"chat": hub_model(tmp_path / "hf")}) as hotseat:
        connection = http.client.HTTPConnection("127.0.0.1", hotseat.port, timeout=LIMIT_S)
        connection.request("POST", "/chat/v1/chat/completions", b"{}", {"Content-Type": "application/json"})
        hotseat.until("chat", half_way)
        connection.close()
        hotseat.until("chat", lambda model: model["waiting"] == 0)
        go_on.set()
        hotseat.until("chat", lambda model: model["state"] == "stopped")
        assert hotseat.model("chat")["starts"] == 0  # nobody wanted it any more
        assert hotseat.ask("chat").status == 200
    assert len(hub.downloads("model.safetensors")) == 1


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_no_download_outlives_the_launcher(how: str, hub: Hub, tmp_path: Path) -> None:
    paused(hub)
    made = Hotseat(
        tmp_path, {"chat": hub_model(tmp_path / "hf")}, env={"HF_ENDPOINT": hub.url}, seed="auto"
    ).start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=LIMIT_S)
        connection.request("POST", "/chat/v1/chat/completions", b"{}", {"Content-Type": "application/json"})
        made.until("chat", half_way)
        (child,) = mine(tmp_path)
        ended = os.pidfd_open(child)
        if how == "stop":
            assert made.stop() == 0
        else:
            made.kill()
        assert select.select([ended], [], [], LIMIT_S)[0]
        os.close(ended)
        connection.close()
    finally:
        made.sweep()


def test_a_wrong_checksum_is_no_model(hub: Hub, tmp_path: Path) -> None:
    hub.damaged.add("model.safetensors")
    with launcher(tmp_path, hub, {"chat": hub_model(tmp_path / "hf")}) as hotseat:
        assert "wrong checksum, removed: model.safetensors" in refused(hotseat).error["message"]
        hub.damaged.clear()
        assert hotseat.send("POST", "/admin/start", {"route": "chat", "wait": True}).status == 200


def test_the_configuration_says_for_which_models(hub: Hub, tmp_path: Path) -> None:
    models = {
        "chat": hub_model(tmp_path / "hf", seed="off"),
        "own": [],  # no model of a hub's
        "pinned": hub_model(tmp_path / "hf", TINY, "--revision", "v1"),
    }
    with launcher(tmp_path, hub, models) as hotseat:
        assert "hotseat seed" in hotseat.ask("chat").error["message"]
        assert hotseat.ask("own").status == 200
        assert hub.asked == []
        answer = hotseat.ask("pinned")
        assert answer.status == 200, answer.error
        assert (tmp_path / "hf/hub/models--acme--tiny/refs/v1").read_text() == COMMIT
