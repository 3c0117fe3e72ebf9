"""The profile ``monitoring``: what it publishes, whom it reaches, and that its configuration is sound."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from fakes.compose_binary import compose_binary
from hotseat.cli import main

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
FILES = ["-f", "docker-compose.yml", "-f", "../monitoring/docker-compose.monitoring.yml"]
KEYS = {"VLLM_API_KEY": "k", "ADMIN_API_KEY": "sk-admin", "GRAFANA_PASSWORD": "g"}


def compose(**env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [compose_binary(), *FILES, "--profile", "*", "config", "--format", "json"],
        cwd=ROOT / "deploy" / "compose",
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    done = compose(**KEYS)
    assert done.returncode == 0, done.stderr
    data: dict[str, Any] = json.loads(done.stdout)
    return data


def ours(whole: dict[str, Any]) -> dict[str, Any]:
    return {name: s for name, s in whole["services"].items() if s.get("profiles") == ["monitoring"]}


def test_it_is_a_profile_of_its_own_with_pinned_images(whole: dict[str, Any]) -> None:
    services = ours(whole)
    assert set(services) == {"prometheus", "grafana", "node-exporter", "gpu-exporter"}
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name


def test_only_grafana_is_published_and_on_this_machine_alone(whole: dict[str, Any]) -> None:
    published = {name: s["ports"] for name, s in ours(whole).items() if s.get("ports")}
    assert list(published) == ["grafana"]
    assert [port["host_ip"] for port in published["grafana"]] == ["127.0.0.1"]


def test_the_exporters_have_no_way_out_and_no_way_to_the_launcher(whole: dict[str, Any]) -> None:
    assert whole["networks"]["monitoring"]["internal"] is True
    for name in ("node-exporter", "gpu-exporter"):
        assert list(whole["services"][name]["networks"]) == ["monitoring"]
    assert set(whole["services"]["prometheus"]["networks"]) == {"front", "monitoring"}
    assert "front" not in whole["services"]["grafana"]["networks"]


def test_the_key_is_a_file_that_prometheus_alone_gets(whole: dict[str, Any]) -> None:
    holders = [name for name, service in whole["services"].items() if service.get("secrets")]
    assert holders == ["prometheus"]
    assert all("sk-admin" not in json.dumps(s.get("environment")) for s in ours(whole).values())
    told = (MONITORING / "prometheus.yml").read_text()
    assert told.count("credentials_file: /run/secrets/hotseat_admin_key") == 2


def test_grafana_has_no_default_password() -> None:
    done = compose(**{name: key for name, key in KEYS.items() if name != "GRAFANA_PASSWORD"})
    assert done.returncode != 0
    assert "GRAFANA_PASSWORD" in done.stderr


def test_everything_that_is_asked_is_a_service(whole: dict[str, Any]) -> None:
    jobs = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    targets = {t.partition(":")[0] for job in jobs for one in job["static_configs"] for t in one["targets"]}
    assert targets == {"launcher", "node-exporter", "gpu-exporter"}
    assert targets <= set(whole["services"])


def test_what_is_mounted_is_there(whole: dict[str, Any]) -> None:
    for name, service in ours(whole).items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), (name, volume)


def test_the_stack_with_it_passes_lint() -> None:
    files = "docker-compose.yml:../monitoring/docker-compose.monitoring.yml"
    done = CliRunner(env={**KEYS, "COMPOSE_FILE": files}).invoke(
        main, ["lint", str(ROOT / "deploy" / "compose")]
    )
    assert (done.exit_code, "error [" in done.output) == (0, False), done.output


@pytest.mark.system("promtool")
def test_prometheus_takes_its_configuration() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", "--syntax-only", str(MONITORING / "prometheus.yml")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
