"""The admin API of a running hotseat: what can be seen, on real sockets, with a real Prometheus."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from fakes.hotseat import LIMIT_S, Hotseat, serving
from hotseat.admin.endpoints import ENDPOINTS

pytestmark = pytest.mark.system
ROOT = Path(__file__).resolve().parents[2]
SECRET = "sk-admin-" + "7" * 30
BIG = {"footprint": 0.6}


@pytest.fixture(scope="module")
def hotseat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotseat]:
    """Two models that do not fit together; one that cannot start."""
    models: dict[str, list[str] | dict[str, Any]] = {
        "chat": {**BIG, "options": ["--tells-calls"]},
        "coder": BIG,
        "broken": ["--start-fails"],
    }
    yield from serving(Hotseat(tmp_path_factory.mktemp("hotseat"), models))


def chat(hotseat: Hotseat, model: str, **body: Any) -> int:
    messages = [{"role": "user", "content": "hi"}]
    options = {"include_usage": True}
    return hotseat.ask(model, messages=messages, stream=True, stream_options=options, **body).status


def metric(hotseat: Hotseat, name: str, **labels: str) -> float:
    text = hotseat.send("GET", "/metrics").body.decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return next(s.value for s in samples if s.name == name and s.labels == labels)


class Stream:
    """A response that goes on."""

    def __init__(self, hotseat: Hotseat, path: str, method: str = "GET", **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", hotseat.port, timeout=LIMIT_S)
        self._connection.request(method, path, headers=headers)
        self.response = self._connection.getresponse()

    def until(self, wanted: str) -> list[str]:
        """Its lines up to one that holds this."""
        lines = []
        while not lines or wanted not in lines[-1]:
            line = self.response.readline()
            assert line, lines
            lines.append(line.decode().rstrip("\n"))
        return lines

    def close(self) -> None:
        self.response.close()
        self._connection.close()


def test_requests_swaps_and_failures_are_counted_and_kept(hotseat: Hotseat) -> None:
    before = metric(hotseat, "hotseat_swaps_total", **{"from": "chat", "to": "coder"})
    assert [chat(hotseat, name) for name in ("chat", "coder", "broken")] == [200, 200, 503]
    assert metric(hotseat, "hotseat_requests_total", model="chat", code="200") >= 1
    assert metric(hotseat, "hotseat_tokens_out_total", model="chat") >= 5
    assert metric(hotseat, "hotseat_time_to_first_token_seconds_count", model="chat") >= 1
    assert metric(hotseat, "hotseat_start_duration_seconds_count", model="coder", kind="cold") == 1
    swaps = metric(hotseat, "hotseat_swaps_total", **{"from": "chat", "to": "coder"})
    assert swaps == before + 1
    assert metric(hotseat, "hotseat_failures_total", model="broken", cause="start_failed") >= 1
    stats = hotseat.send("GET", "/stats").json
    assert {"from": "chat", "to": "coder"}.items() <= stats["swaps"][0].items()
    assert stats["failures"][0]["model"] == "broken"
    assert stats["models"]["chat"]["last_move"]["needed_by"] == "coder"
    assert stats["models"]["chat"]["tokens_out"] >= 5
    assert stats["budget"] == {"0": 0.9}


def test_who_has_not_moved_is_as_it_is_since_we_began(tmp_path: Path) -> None:
    for hotseat in serving(Hotseat(tmp_path, {"chat": []})):
        stats = hotseat.send("GET", "/stats").json
        assert stats["models"]["chat"]["since"] == stats["since"]  # and not since the machine's boot
        hotseat.ask("chat")
        assert hotseat.model("chat")["since"] > stats["since"]


def test_refusals_have_their_reason(hotseat: Hotseat) -> None:
    chat(hotseat, "broken")
    hotseat.until("broken", lambda model: model["state"] == "backoff")
    name, labels = "hotseat_refusals_total", {"model": "broken", "reason": "model_backoff"}
    before = metric(hotseat, name, **labels)
    assert hotseat.ask("broken", messages=[]).error["code"] == "model_backoff"
    assert metric(hotseat, name, **labels) == before + 1


def test_events_are_told_in_order_and_again_to_who_comes_back(hotseat: Hotseat) -> None:
    hotseat.send("POST", "/admin/stop", {"route": "chat", "wait": True})
    events = Stream(hotseat, "/events")
    assert events.response.getheader("content-type", "").startswith("text/event-stream")
    assert events.until("retry") == ["retry: 2000"]
    hotseat.send("POST", "/admin/start", {"route": "chat", "wait": True})
    lines = events.until('"state":"ready"')
    events.close()
    told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    states = [one["state"] for one in told if "state" in one and one["model"] == "chat"]
    assert states == ["starting", "ready"]
    assert "starting" in [one.get("phase") for one in told]
    ids = [line[4:] for line in lines if line.startswith("id: ")]
    again = Stream(hotseat, "/events", **{"Last-Event-ID": ids[-2]})
    assert f"id: {ids[-1]}" in again.until('"state":"ready"')
    again.close()


def test_logs_are_followed(hotseat: Hotseat) -> None:
    hotseat.send("POST", "/admin/start", {"route": "chat", "wait": True})
    logs = Stream(hotseat, "/logs/chat?follow=1&lines=1")
    assert len(logs.until("")) == 1
    chat(hotseat, "chat", user="somebody-to-look-for")
    assert "somebody-to-look-for" in logs.until("somebody-to-look-for")[-1]
    logs.close()


def test_what_is_asked_wrongly_is_said(hotseat: Hotseat) -> None:
    for path, status in (
        ("/logs/nobody", 404),
        ("/logs/nobody?follow=1", 404),
        ("/logs/chat?lines=0", 400),
        ("/logs/chat?lines=1&follow=perhaps", 400),
    ):
        answer = hotseat.send("GET", path)
        assert answer.status == status, path
        assert answer.error["message"]
    assert hotseat.send("POST", "/metrics", {}).status == 405


def test_streams_that_nobody_reads_hold_up_neither_requests_nor_the_end(tmp_path: Path) -> None:
    made = Hotseat(tmp_path, {"chat": []})
    for running in serving(made):
        stuck = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(20)]
        for one in stuck:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(b"GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert chat(running, "chat") == 200
        running.send("POST", "/admin/stop", {"route": "chat", "wait": True})
        for one in stuck:
            assert b"text/event-stream" in one.recv(65536)
            one.close()


def test_the_models_own_metrics_come_with_their_names(hotseat: Hotseat) -> None:
    hotseat.send("POST", "/admin/start", {"route": "coder", "wait": True})
    text = hotseat.send("GET", "/metrics/models").body.decode()
    assert 'vllm:num_requests_running{model="coder",model_name="fake"} 0.0' in text
    assert 'hotseat_model_metrics_up{model="coder"} 1' in text
    assert 'hotseat_model_metrics_up{model="chat"} 0' in text


def test_the_history_survives_a_restart(tmp_path: Path) -> None:
    made = Hotseat(tmp_path, {"broken": ["--start-fails"], "chat": []})
    for running in serving(made):
        chat(running, "broken")
        chat(running, "chat")
        assert running.stop() == 0
        running.start()
        stats = running.send("GET", "/stats").json
        assert stats["failures"][0]["summary"]
        assert sum(one["requests"] for one in stats["models"]["chat"]["minutes"]) == 1
        assert stats["models"]["chat"]["requests"] == 0


def test_each_endpoint_opens_to_the_keys_that_it_is_described_with(tmp_path: Path) -> None:
    env = {"VLLM_API_KEY": "sk-client-" + "1" * 30, "ADMIN_API_KEY": SECRET}
    made = Hotseat(tmp_path, {"chat": []}, env=env)
    for running in serving(made):
        keys = {"all": None, "key": env["VLLM_API_KEY"], "admin": SECRET}
        for one in ENDPOINTS:
            path = one.path.replace("{model}", "chat") + ("?follow=1" if "logs" in one.path else "")
            for number, key in enumerate(keys.values()):
                fields = {"Authorization": f"Bearer {key}"} if key else {}
                stream = Stream(running, path, one.method, **fields)
                enough = number >= list(keys).index(one.access)
                refused = 401 if key is None else 403
                opened = 200 if one.method == "GET" else 415  # an order without a body
                assert stream.response.status == (opened if enough else refused), (path, key)
                stream.close()
        told = Stream(running, "/metrics", Authorization=f"Bearer {SECRET}").response.read().decode()
        assert "sk-" not in told
        assert 'reason="missing_api_key"' in told


@pytest.mark.system("prometheus", "promtool")
def test_prometheus_scrapes_it(hotseat: Hotseat, tmp_path: Path) -> None:
    chat(hotseat, "chat")
    config = yaml.safe_load((ROOT / "deploy" / "monitoring" / "prometheus.yml").read_text())
    jobs = [job for job in config["scrape_configs"] if job["job_name"] in ("hotseat", "models")]
    for job in jobs:
        job["static_configs"][0]["targets"] = [f"127.0.0.1:{hotseat.port}"]
        job["authorization"]["credentials_file"] = str(tmp_path / "key")
    (tmp_path / "key").write_text(SECRET)
    told = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
    for job in jobs:
        job.pop("scrape_timeout", None)
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(told))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        assert asked(port, 'hotseat_requests_total{model="chat",code="200"}') >= 1
        assert asked(port, 'hotseat_model_metrics_up{job="models",model="chat"}') >= 0
        assert asked(port, "scrape_samples_scraped{job='hotseat'}") > 300
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT_S)


def asked(port: int, query: str) -> float:
    """What Prometheus answers, once it has an answer."""
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=LIMIT_S) as response:
                result = json.load(response)["data"]["result"]
        except OSError:
            result = []
        if result:
            return float(result[0]["value"][1])
        time.sleep(0.2)
    raise AssertionError(f"Prometheus never had an answer for {query}")
