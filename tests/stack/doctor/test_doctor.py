"""``hotseat doctor``: each line, with the machine played by fakes."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fakes.compose_binary import compose_binary
from fakes.engine_api import FakeEngineApi
from fakes.shims import Shims
from hotseat.cli import main
from hotseat.stack.doctor import host
from hotseat.stack.doctor.docker_api import DockerApi, DockerApiError

GPU = "NVIDIA GeForce RTX 3090, 576.80, 24576, 812\n"
SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}


def run(folder: Path, *words: str, **env: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--stack", str(folder), *words], env=env)


class Machine:
    """A machine on which all is well, until a test breaks it."""

    def __init__(self, folder: Path, shims: Shims) -> None:
        self.folder = folder
        self.shims = shims
        self.cache = folder.parent / "cache"
        self.cache.mkdir()
        self.answers: dict[str, Any] = {
            "/version": {"Version": "28.2.2"},
            "/info": {"Runtimes": {"nvidia": {}, "runc": {}}, "SystemTime": datetime.now(UTC).isoformat()},
        }
        for name in ("sitechat", "coder3b", "qwen7b-bnb4"):
            self.answers[f"/containers/{name}/json"] = {
                "State": {"Status": "exited"},
                "HostConfig": {"RestartPolicy": {"Name": "no"}},
            }
        for image in ("vllm/vllm-openai:v0.33.0", "vllm/vllm-openai:v0.27.1", "hotseat:0.1.0"):
            self.answers[f"/images/{image}/json"] = {"Id": "x"}
        for model in (
            "microsoft/Phi-3.5-mini-instruct",
            "Qwen/Qwen2.5-Coder-3B-Instruct",
            "Qwen/Qwen2.5-7B-Instruct",
        ):
            self.seed(model)
        shims.add("docker", {"compose version": (0, "2.40.3")}, ("config", compose_binary(), 1))
        shims.add("nvidia-smi", {"query-gpu": (0, GPU)})
        shims.add("systemctl", {"is-enabled": (0, "enabled\n")})
        self.env: dict[str, str] = {}

    def seed(self, model: str) -> None:
        """A small model in the place of a model."""
        folder = self.cache / ("models--" + model.replace("/", "--"))
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(SMOLLM2), encoding="utf-8")

    def set(self, name: str, value: str) -> None:
        """A line of ``.env``."""
        path = self.folder / ".env"
        lines = [
            line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith(f"{name}=")
        ]
        path.write_text("\n".join([*lines, f"{name}={value}", ""]), encoding="utf-8")

    def doctor(self, *words: str) -> tuple[dict[str, dict[str, str]], Result]:
        """The checks by name."""
        with FakeEngineApi(self.folder.parent / "docker.sock", self.answers) as engine:
            env = {"DOCKER_HOST": engine.url, **self.env}
            done = CliRunner().invoke(
                main, ["doctor", "--stack", str(self.folder), "--json", *words], env=env
            )
        assert done.stdout, (done.output, done.exception)
        checks = json.loads(done.stdout)["checks"]
        return {one["name"]: one for one in checks}, done


@pytest.fixture
def machine(stack_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    shims = Shims(tmp_path / "shims")
    monkeypatch.setenv("PATH", str(shims.folder))
    machine = Machine(stack_folder, shims)
    assert CliRunner().invoke(main, ["init", "--stack", str(stack_folder)]).exit_code == 0
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    machine.set("LAUNCHER_BIND", "127.0.0.1")
    machine.set("LAUNCHER_PORT", str(port))
    machine.set("CACHE_DIR", str(machine.cache))
    return machine


def test_a_healthy_machine(machine: Machine) -> None:
    checks, done = machine.doctor()
    assert {name: one["message"] for name, one in checks.items() if one["state"] != "ok"} == {}
    assert done.exit_code == 0
    assert set(checks) == {
        "config",
        "compose files",
        "compose",
        "env file",
        "keys",
        "key age",
        "systemd unit",
        "engine",
        "container toolkit",
        "clock",
        *(f"image of {name}" for name in ("coder3b", "sitechat", "qwen7b-bnb4", "launcher")),
        *(f"container {name}" for name in ("coder3b", "sitechat", "qwen7b-bnb4")),
        "cache",
        "weights",
        "disk",
        "port",
        "gpu 0",
        *(f"memory of {name}" for name in ("coder3b", "sitechat", "qwen7b-bnb4")),
    }
    assert "RTX 3090" in checks["gpu 0"]["message"]


def break_config(machine: Machine) -> None:
    (machine.folder / "hotseat.yaml").write_text("modles: {}\n", encoding="utf-8")


def break_compose_file(machine: Machine) -> None:
    (machine.folder / "docker-compose.yml").write_text("services: [", encoding="utf-8")


def no_compose(machine: Machine) -> None:
    machine.shims.add("docker", {"compose": (1, "unknown command")})


def no_env_file(machine: Machine) -> None:
    (machine.folder / ".env").unlink()
    machine.env["CACHE_DIR"] = str(machine.cache)


def open_env_file(machine: Machine) -> None:
    (machine.folder / ".env").chmod(0o644)


def broken_env_file(machine: Machine) -> None:
    (machine.folder / ".env").write_text("no assignment here\n", encoding="utf-8")


def one_key(machine: Machine) -> None:
    machine.set("UPSTREAM_API_KEY", "")


def same_keys(machine: Machine) -> None:
    machine.set("UPSTREAM_API_KEY", "same")
    machine.set("ADMIN_API_KEY", "same")


def no_key(machine: Machine) -> None:
    machine.set("VLLM_API_KEY", "")


def key_age(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def old_key(machine: Machine) -> None:
    machine.set("VLLM_API_KEY_SINCE", key_age(93))


def ageless_key(machine: Machine) -> None:
    machine.set("VLLM_API_KEY_SINCE", "")


def future_key(machine: Machine) -> None:
    machine.set("VLLM_API_KEY_SINCE", key_age(-5))


def no_unit(machine: Machine) -> None:
    machine.shims.add("systemctl", {"is-enabled": (1, "not-found")})


def no_toolkit(machine: Machine) -> None:
    machine.answers["/info"]["Runtimes"] = {"runc": {}}


def wrong_clock(machine: Machine) -> None:
    machine.answers["/info"]["SystemTime"] = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()


def no_image(machine: Machine) -> None:
    del machine.answers["/images/vllm/vllm-openai:v0.27.1/json"]


def no_launcher_image(machine: Machine) -> None:
    del machine.answers["/images/hotseat:0.1.0/json"]


def no_container(machine: Machine) -> None:
    """On a public site, whose launcher has no socket to make it with."""
    (machine.folder / ".env").write_text(
        (machine.folder / ".env").read_text() + "COMPOSE_FILE=docker-compose.yml:docker-compose.public.yml\n"
    )
    del machine.answers["/containers/sitechat/json"]


def restarting(machine: Machine) -> None:
    machine.answers["/containers/sitechat/json"]["HostConfig"]["RestartPolicy"]["Name"] = "always"


def edited_since(machine: Machine) -> None:
    machine.answers["/containers/sitechat/json"]["Config"] = {
        "Labels": {
            "com.docker.compose.config-hash": "0" * 64,
            "com.docker.compose.project.working_dir": str(machine.folder.resolve()),
        }
    }


def no_weights(machine: Machine) -> None:
    folder = machine.cache / "models--Qwen--Qwen2.5-Coder-3B-Instruct"
    (folder / "config.json").unlink()


def no_cache(machine: Machine) -> None:
    machine.set("CACHE_DIR", str(machine.cache / "not" / "yet"))


def bad_port(machine: Machine) -> None:
    machine.set("LAUNCHER_PORT", "http")


def no_gpu(machine: Machine) -> None:
    machine.shims.add("nvidia-smi", {"query-gpu": (9, "no devices")})


def big_model(machine: Machine) -> None:
    folder = machine.cache / "models--microsoft--Phi-3.5-mini-instruct"
    (folder / "config.json").write_text("{}", encoding="utf-8")


def strange_model(machine: Machine) -> None:
    file = machine.folder / "docker-compose.yml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("microsoft/Phi-3.5-mini-instruct", "nobody/knows"), encoding="utf-8")


@pytest.mark.parametrize(
    ("broken", "check", "state", "words"),
    [
        (break_config, "config", "error", "modles"),
        (break_compose_file, "compose files", "error", "not valid YAML"),
        (no_compose, "compose", "error", "docker-compose-plugin"),
        (no_env_file, "env file", "error", "hotseat init"),
        (open_env_file, "env file", "error", "chmod 600"),
        (broken_env_file, "env file", "error", "line 1"),
        (one_key, "keys", "warning", "UPSTREAM_API_KEY not set"),
        (same_keys, "keys", "warning", "UPSTREAM_API_KEY and ADMIN_API_KEY are the same"),
        (no_key, "keys", "error", "VLLM_API_KEY is empty"),
        (old_key, "key age", "warning", "93 days old"),
        (ageless_key, "key age", "warning", "is unknown"),
        (future_key, "key age", "warning", "future"),
        (no_unit, "systemd unit", "warning", "install-service"),
        (no_toolkit, "container toolkit", "error", "nvidia-ctk"),
        (wrong_clock, "clock", "warning", "differ"),
        (no_image, "image of qwen7b-bnb4", "warning", "pull qwen7b-bnb4"),
        (no_launcher_image, "image of launcher", "warning", "docker build -t hotseat:0.1.0 ."),
        (no_container, "container sitechat", "warning", "create sitechat"),
        (restarting, "container sitechat", "error", "restart: always"),
        (edited_since, "container sitechat", "warning", "up --no-start --no-deps sitechat"),
        (no_weights, "weights", "warning", "Qwen/Qwen2.5-Coder-3B-Instruct"),
        (no_cache, "cache", "warning", "mkdir -p"),
        (bad_port, "port", "error", "not a port number"),
        (no_gpu, "gpu", "error", "install the NVIDIA driver"),
        (no_gpu, "memory", "unknown", "--card 24GiB"),
        (big_model, "memory of sitechat", "error", "--gpu-memory-utilization to 0.49 or more (0.86 for 4"),
        (strange_model, "memory of sitechat", "unknown", "nobody/knows"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_broken_is_said_with_what_to_do(
    broken: Any, check: str, state: str, words: str, machine: Machine
) -> None:
    broken(machine)
    checks, done = machine.doctor()
    one = checks[check]
    assert one["state"] == state, one
    assert words in f"{one['message']} {one['fix']}"
    assert one["fix"] or state == "unknown"
    assert done.exit_code == (1 if any(c["state"] == "error" for c in checks.values()) else 0)
    assert (state == "error") <= (done.exit_code == 1)


def test_a_container_that_the_launcher_makes_is_not_missed(machine: Machine) -> None:
    del machine.answers["/containers/sitechat/json"]
    checks, done = machine.doctor()
    assert checks["container sitechat"]["state"] == "ok"
    assert "the first request creates it" in checks["container sitechat"]["message"]
    assert done.exit_code == 0


def test_the_engine_away_hides_nothing_else(machine: Machine) -> None:
    machine.env["DOCKER_HOST"] = f"unix://{machine.folder}/gone.sock"
    checks, done = machine.doctor()
    assert checks["engine"]["state"] == "error"
    assert "systemctl start docker" in checks["engine"]["fix"]
    assert checks["memory of coder3b"]["state"] == "ok"
    assert done.exit_code == 1


def test_a_card_can_be_named_where_there_is_none(machine: Machine) -> None:
    no_gpu(machine)
    checks, _ = machine.doctor("--card", "24GiB")
    assert checks["memory of coder3b"]["state"] == "ok"
    assert CliRunner().invoke(main, ["doctor", "--card", "big"]).exit_code == 2


def test_the_port_of_a_running_launcher_is_its_own(machine: Machine) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        machine.set("LAUNCHER_PORT", str(one.getsockname()[1]))
        taken, _ = machine.doctor()
        machine.answers["/containers/launcher/json"] = {"State": {"Running": True}}
        ours, _ = machine.doctor()
    assert taken["port"]["state"] == "error"
    assert "in use" in taken["port"]["message"]
    assert ours["port"]["state"] == "ok"


def test_people_get_a_line_each_and_what_to_type(machine: Machine) -> None:
    open_env_file(machine)
    done = CliRunner().invoke(
        main, ["doctor", "--stack", str(machine.folder)], env={"DOCKER_HOST": "unix:///no"}
    )
    assert done.exit_code == 1
    assert f"ERROR   env file: {machine.folder}/.env can be read by other users (mode 644)\n" in done.output
    assert f"        → chmod 600 {machine.folder}/.env\n" in done.output


def test_no_key_is_printed(machine: Machine) -> None:
    same_keys(machine)
    machine.set("VLLM_API_KEY", "clientssecret")
    for words in (["--json"], []):
        done = run(machine.folder, *words)
        assert "clientssecret" not in done.output
        assert "same\n" not in done.output


MOUNTS = """\
22 1 8:1 / / rw shared:1 - ext4 /dev/sdc rw
30 22 0:40 / /mnt/d rw - 9p D:\\134 rw,dirsync
31 22 0:41 / /srv/my\\040disk rw - xfs /dev/sdd rw
32 31 0:42 / /srv/my\\040disk/win rw - drvfs E: rw
"""


@pytest.mark.parametrize(
    ("path", "point", "kind"),
    [
        ("/mnt/d/llm", "/mnt/d", "9p"),
        ("/mnt/data", "/", "ext4"),
        ("/srv/my disk/x", "/srv/my disk", "xfs"),
        ("/srv/my disk/win/x", "/srv/my disk/win", "drvfs"),
        ("/", "/", "ext4"),
    ],
)
def test_the_file_system_of_a_path(path: str, point: str, kind: str) -> None:
    assert host.mount_of(Path(path), MOUNTS) == (point, kind)


def test_a_cache_on_a_windows_drive_is_an_error(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "mount_of", lambda path, text: ("/mnt/d", "9p"))
    checks, done = machine.doctor()
    assert checks["cache"]["state"] == "error"
    assert "Windows" in checks["cache"]["message"]
    assert done.exit_code == 1


def test_a_full_disk_is_an_error(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "free_bytes", lambda path: 3 * 1024**3)
    checks, _ = machine.doctor()
    assert checks["disk"]["state"] == "error"
    assert "3 GiB free" in checks["disk"]["message"]


def test_the_engine_in_words(tmp_path: Path) -> None:
    with pytest.raises(DockerApiError, match="unsupported scheme ssh"):
        DockerApi({"DOCKER_HOST": "ssh://host"}).get("/version")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with pytest.raises(DockerApiError, match="does not answer"):
        DockerApi({"DOCKER_HOST": f"tcp://127.0.0.1:{port}"}).get("/version")
