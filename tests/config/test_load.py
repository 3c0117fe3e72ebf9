"""From a file to settings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hotseat.config import ConfigError, find, load, loads, read_listen_address, secret_values
from hotseat.config.client_settings import ListenAddress
from hotseat.config.paths import state_dir
from hotseat.core.spec import ListenSpec, Settings
from hotseat.runtimes.docker.spec import DockerSpec
from hotseat.runtimes.process.spec import ProcessSpec

EXAMPLE = Path(__file__).parents[2] / "examples" / "hotseat.yaml"
MINIMAL = 'models:\n  chat:  {command: [my-server, --port, "{port}"]}\n'


def settings(text: str, **env: str) -> Settings:
    return loads(text, "/etc/box/hotseat.yaml", {"HOME": "/home/me", **env})


def one(terms: str = "", top: str = "", **env: str) -> Settings:
    """One model ``m`` with further keys."""
    lines = "".join(f"    {line}\n" for line in terms.splitlines())
    return settings(f"{top}\nmodels:\n  m:\n    command: run --port {{port}}\n{lines}", **env)


def test_the_minimal_form_has_all_the_defaults() -> None:
    found = settings(MINIMAL)
    serve, model = found.serve, found.models["chat"]
    assert (serve.host, serve.port, serve.open) == ("127.0.0.1", 8000, True)
    assert (serve.hold_headers_s, serve.body_limit_bytes, serve.drain_timeout_s) == (2.0, 32 << 20, 60.0)
    assert (serve.default_route, serve.strict_models, serve.leave_running) == (None, False, False)
    assert found.scheduler.budget == {"0": 900_000}
    assert found.scheduler.return_to is None
    assert model.launch == ProcessSpec(command=("my-server", "--port", "{port}"))
    assert (model.runtime, model.engine, model.health_path) == ("process", "openai", "/health")
    assert (model.stop_grace_s, model.served_names, model.upstream_key) == (10.0, (), None)
    seat = model.scheduling
    assert seat is found.scheduler.models["chat"]
    assert seat.footprint == {"0": 900_000}
    assert (seat.idle_s, seat.start_timeout_s, seat.drain_timeout_s) == (1800.0, 300.0, 60.0)
    assert (seat.residency_s, seat.max_wait_s, seat.wait_limit_s) == (None, None, None)
    assert (seat.pinned, seat.warm, seat.priority, seat.sleep) == (False, False, 0, None)
    (route,) = found.routes
    assert (route.name, route.model, route.path, route.aliases) == ("chat", "chat", "/chat", ())


def test_the_example_loads() -> None:
    found = load(EXAMPLE, {"HOME": "/home/me"})
    assert found.serve.state_dir == "/home/me/.local/state/hotseat"
    assert {name: m.scheduling.footprint["0"] for name, m in found.models.items()} == {
        "coder": 700_000,
        "chat": 180_000,
        "qwen7b": 720_000,
        "tiny": 50_000,
    }
    coder = found.models["coder"]
    assert (coder.engine, coder.served_names, coder.scheduling.max_in_flight) == ("vllm", ("coder",), 8)
    assert isinstance(coder.launch, ProcessSpec)
    assert coder.launch.env == {"HF_HUB_OFFLINE": "1", "VLLM_CACHE_ROOT": "/srv/llm/.cache/vllm"}
    chat = found.models["chat"]
    assert isinstance(chat.launch, DockerSpec)
    assert chat.launch.compose is not None
    assert chat.launch.compose.file == str(EXAMPLE.parent / "docker-compose.yml")
    assert (chat.launch.compose.project, chat.launch.compose.profiles) == ("llm", ("chat",))
    assert (chat.stop_grace_s, chat.scheduling.priority, chat.scheduling.pinned, chat.scheduling.warm) == (
        3.0,
        10,
        True,
        True,
    )
    assert chat.upstream_key is None
    sleep = found.models["qwen7b"].scheduling.sleep
    assert sleep is not None
    assert (sleep.level, sleep.idle_s, sleep.host_mib, sleep.leftover) == (1, 7200.0, 16384, {"0": 60_000})
    assert found.scheduler.host_sleep_mib == 32768
    assert found.models["chat"].scheduling.sleep is None
    assert [(r.name, r.model, r.path) for r in found.routes] == [
        ("chat", "chat", "/chat"),
        ("site", "chat", "/site"),
        ("coder", "coder", "/coder"),
        ("qwen7b", "qwen7b", "/qwen7b"),
        ("tiny", "tiny", "/tiny"),
    ]
    assert found.serve.default_route == "chat"


def test_idle_zero_is_never_and_a_models_own_value_wins() -> None:
    found = one("idle: 0\nstart_timeout: 7", "idle: 1h\nstart_timeout: 1m\nresidency: 20s\nmax_wait: 40")
    seat = found.models["m"].scheduling
    assert seat.idle_s is None
    assert seat.start_timeout_s == 7.0
    assert (seat.residency_s, seat.max_wait_s) == (20.0, 40.0)
    assert one("residency: auto", "residency: 20s").models["m"].scheduling.residency_s is None


def test_the_environment_overrides_the_files_globals_only() -> None:
    env = {"LISTEN": "localhost:9", "START_TIMEOUT_SECONDS": "5", "IDLE_SECONDS": "0", "VLLM_API_KEY": ""}
    found = one("start_timeout: 77", "listen: 127.0.0.1:1\nidle: 1h\nstart_timeout: 1m", **env)
    assert (found.serve.host, found.serve.port) == ("localhost", 9)
    assert found.models["m"].scheduling.start_timeout_s == 77.0
    assert found.models["m"].scheduling.idle_s is None
    with pytest.raises(ConfigError) as caught:
        one(IDLE_SECONDS="soon")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.key) == ("environment", None, "IDLE_SECONDS")


def test_footprints_come_from_the_file_or_the_command_or_are_everything() -> None:
    def share(terms: str) -> int:
        return settings(f"models: {{m: {terms}}}").models["m"].scheduling.footprint["0"]

    flag = "[vllm, serve, Q/Q, --port, '{port}', --gpu-memory-utilization, 0.18]"
    assert share(f"{{command: {flag}}}") == 180_000
    assert share(f"{{command: {flag}, footprint: 0.3}}") == 300_000
    assert share("{command: 'wrapper.sh --port {port} --gpu-memory-utilization=0.25'}") == 250_000
    assert share("{command: 'run {port}'}") == 900_000
    assert share("{command: 'run {port}', footprint: 0}") == 0


def test_several_devices() -> None:
    top = "gpu: {devices: {0: 0.9, 1: 0.5}}"
    assert one("", top).models["m"].scheduling.footprint == {"0": 900_000, "1": 500_000}
    assert one("devices: 1", top).models["m"].scheduling.footprint == {"1": 500_000}
    assert one("devices: [0, 1]\nfootprint: 0.4", top).models["m"].scheduling.footprint == {
        "0": 400_000,
        "1": 400_000,
    }
    assert one("footprint: {1: 0.4}", top).models["m"].scheduling.footprint == {"1": 400_000}
    assert one("", "gpu: {budget: 0.8, devices: [0, 1]}").scheduler.budget == {"0": 800_000, "1": 800_000}


def test_names_of_the_server_come_from_the_command() -> None:
    text = "models: {m: {command: 'vllm serve Qwen/Q --port {port} --lora-modules sql=/x'}}"
    model = settings(text).models["m"]
    assert (model.served_names, model.lora_names, model.engine) == (("Qwen/Q",), ("sql",), "vllm")
    assert one("served_name: [a, b]").models["m"].served_names == ("a", "b")


def test_sleep_from_the_top_and_from_the_model() -> None:
    vllm = "models: {m: {command: 'vllm serve Q --port {port}'%s}}\n"
    assert settings(vllm % ", sleep: 2").models["m"].scheduling.sleep.level == 2  # type: ignore[union-attr]
    assert settings(vllm % ", sleep: true").models["m"].scheduling.sleep.level == 1  # type: ignore[union-attr]
    assert settings(vllm % ", sleep: {idle: 1h}").models["m"].scheduling.sleep.level == 1  # type: ignore[union-attr]
    assert settings(vllm % "" + "sleep: {level: 2}").models["m"].scheduling.sleep.level == 2  # type: ignore[union-attr]
    assert settings(vllm % ", sleep: off" + "sleep: {level: 2}").models["m"].scheduling.sleep is None
    assert settings(vllm % "" + "sleep: {host_memory: 1GiB}").models["m"].scheduling.sleep is None


def test_the_servers_key() -> None:
    assert one(VLLM_API_KEY="client").models["m"].upstream_key == "client"
    assert one(VLLM_API_KEY="client", UPSTREAM_API_KEY="up").models["m"].upstream_key == "up"
    assert one("upstream_key: ${OWN}", OWN="123", UPSTREAM_API_KEY="up").models["m"].upstream_key == "123"
    assert one("upstream_key: ''", VLLM_API_KEY="client").models["m"].upstream_key is None


def test_default_model_may_name_a_route_or_a_model() -> None:
    routes = "routes: {site: {model: m, path: /s}}\ndefault_model: "
    assert one("", routes + "site").serve.default_route == "site"
    assert one("", routes + "m").serve.default_route == "site"
    assert one("", "default_model: m\nreturn_to_default: true").scheduler.return_to == "m"


def test_files_are_relative_to_the_configuration() -> None:
    found = one("cwd: ../work", "state_dir: state")
    assert found.serve.state_dir == "/etc/box/state"
    assert found.models["m"].launch.cwd == "/etc/work"  # type: ignore[union-attr]


def test_where_the_state_is_kept_by_default() -> None:
    assert state_dir({"HOME": "/h"}, root=False) == "/h/.local/state/hotseat"
    assert state_dir({"HOME": "/h"}, root=True) == "/var/lib/hotseat"
    assert state_dir({"XDG_STATE_HOME": "/s"}, root=True) == "/s/hotseat"


def test_a_key_opens_other_addresses() -> None:
    assert one("", "listen: :8000", VLLM_API_KEY="k").serve.open is False
    with pytest.raises(ConfigError, match="set VLLM_API_KEY in the environment"):
        one("", "listen: :8000")


def test_the_fingerprint_follows_the_launch_alone() -> None:
    def of(terms: str = "", **env: str) -> str:
        return one(terms, **env).models["m"].scheduling.fingerprint

    assert of() == of() == of("idle: 5m\npriority: 3\naliases: [x]")
    prints = {of(), of("env: {A: 1}"), of("env: {A: 2}"), of("cwd: /tmp")}
    assert len(prints) == 4
    secret = of("env: {HF_TOKEN: '${T}'}", T="hunter2hunter2")
    assert "hunter2" not in secret
    assert hashlib.sha256(b"hunter2hunter2").hexdigest()[:8] not in secret


def test_secrets_are_known_and_never_shown() -> None:
    env = {"VLLM_API_KEY": "client-key", "UPSTREAM_API_KEY": "up-key", "OTHER": "plain", "T": "token-1"}
    found = one("env: {HF_TOKEN: '${T}', LEVEL: debug}", **env)
    assert secret_values(found, env) == {"client-key", "up-key", "token-1"}
    assert "up-key" not in repr(found.models["m"].upstream_key and found.models["m"])


def test_values_from_the_environment_are_not_repeated_in_errors() -> None:
    secret = "sk-very-secret"
    text = "models:\n  m:\n    command: ${S}'\n    idle: ${S}\n    footprint: ${S}\n    env: ${S}\n"
    text += "    url: ${S}\n    aliases: ['${S}']\n    devices: ${S}\n"
    text += (
        "    pinned: ${S}\n    runtime: ${S}\n    health: ${S}\n    path: ${S}\n    allow_paths: [ '${S}' ]\n"
    )
    with pytest.raises(ConfigError) as caught:
        settings(text + "listen: ${S}\ndefault_model: ${S}\n", S=secret)
    assert len(caught.value.problems) >= 8
    assert secret not in str(caught.value)


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = {"HOME": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"looked for hotseat\.yaml, .*name one with -c FILE"):
        find(env)
    user = tmp_path / ".config" / "hotseat" / "hotseat.yaml"
    user.parent.mkdir(parents=True)
    user.write_text(MINIMAL)
    assert load(None, env).source == str(user)
    (tmp_path / "hotseat.yaml").write_text(MINIMAL)
    assert load(None, env).source == "hotseat.yaml"
    other = tmp_path / "other.yaml"
    other.write_text(MINIMAL)
    assert load(None, {**env, "HOTSEAT_CONFIG": str(other)}).source == str(other)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for content, words in (
        (b"\xff\xfe", "not UTF-8"),
        (b"", "the file is empty"),
        (b"- a", "expected key: value lines"),
        (b"#" * (5 << 20), "larger than 4 MiB"),
    ):
        path = tmp_path / "f.yaml"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=words):
            load(path, {})
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, {})
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load(tmp_path / "bom.yaml", {}).models.keys() == {"chat"}


def test_a_client_needs_the_address_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = {"HOME": str(tmp_path)}
    assert read_listen_address(None, env) == ListenAddress(ListenSpec("127.0.0.1", 8000))
    path = tmp_path / "hotseat.yaml"
    path.write_text("listen: :9000\nmodels: {m: {upstream_key: '${MISSING}'}}\n")
    assert read_listen_address(None, env) == ListenAddress(ListenSpec("", 9000))
    assert read_listen_address(path, {**env, "LISTEN": "localhost:1"}) == ListenAddress(
        ListenSpec("localhost", 1)
    )
    path.write_text("a: 1\nlisten: nowhere\n")
    with pytest.raises(ConfigError, match=r"hotseat\.yaml:2: listen: expected an address"):
        read_listen_address(None, env)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_listen_address(tmp_path / "none", env)


def test_a_model_inherits_what_it_does_not_write() -> None:
    found = one(
        "idle: 1m\nmax_queue: 3\nseed_timeout:",
        "idle: 1h\nstop_grace: 4s\nmax_queue: 9\nwait_limit: 2m\nhealth_every: 0",
    ).models["m"]
    assert (found.scheduling.idle_s, found.scheduling.max_queue) == (60.0, 3)
    assert (found.stop_grace_s, found.scheduling.wait_limit_s, found.health_every_s) == (4.0, 120.0, None)
    assert (found.scheduling.start_timeout_s, found.first_byte_timeout_s) == (300.0, 600.0)
    with pytest.raises(ConfigError, match="start_timeout: has no value"):
        one("", "start_timeout:")
