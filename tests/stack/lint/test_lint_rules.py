"""Every rule finds its planted fault, by Compose's reading and by ours, and nothing in our own stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from hotseat import config
from hotseat.stack.compose.reading import compose_files, read_project, stack_environment
from hotseat.stack.lint import RULES, lint, reference
from hotseat.stack.lint.findings import Finding, LintedStack

ROOT = Path(__file__).resolve().parents[3]


def findings(folder: Path, env: dict[str, str], *more: str) -> list[Finding]:
    files = [*compose_files(folder, stack_environment(folder, env)), *(folder / one for one in more)]
    reading = read_project(files, env)
    yaml = folder / "hotseat.yaml"
    settings = config.load(yaml, {}) if yaml.is_file() else None
    stack = LintedStack(project=reading.project, written=reading.written, settings=settings)
    return lint(stack, str(files[0]))


@dataclass(frozen=True)
class Fault:
    """A change of one of our files that breaks one rule."""

    rule: str
    old: str
    new: str
    service: str | None
    line: str
    """The text of the line that the finding names."""
    file: str = "docker-compose.yml"
    count: int = 1


SITECHAT = "    container_name: sitechat\n"
IMAGE = "    image: *vllm-image\n"
FAULTS = [
    Fault("container-name", SITECHAT, "", "sitechat", "sitechat:"),
    Fault(
        "container-name",
        SITECHAT,
        '    container_name: "${NAME:-sitechat}"\n',
        "sitechat",
        "container_name: ",
    ),
    Fault("profile", "    profiles: [chat]\n", "", "sitechat", "sitechat:"),
    Fault("profile", "    profiles: [launcher]\n", "    profiles: [front]\n", "launcher", "launcher:"),
    Fault("launcher", "  launcher:\n    image:", "  door:\n    image:", None, "services:"),
    Fault("published-port", SITECHAT, f'{SITECHAT}    ports: ["8001:8000"]\n', "sitechat", "ports:"),
    Fault("published-port", SITECHAT, f"{SITECHAT}    ports: [8000]\n", "sitechat", "ports:"),
    Fault(
        "published-port",
        SITECHAT,
        f"{SITECHAT}    ports:\n      - target: 8000\n        published: 8001\n",
        "sitechat",
        "ports:",
    ),
    Fault(
        "other-port",
        "\nnetworks:\n",
        "\n  door:\n    image: caddy:2.10.0\n    container_name: door\n    profiles: [launcher]\n"
        "    networks: [front]\n    ports: ['443:443']\n\nnetworks:\n",
        "door",
        "ports:",
    ),
    Fault(
        "network", "    internal: true\n", "    internal: false\n", "sitechat", "networks: [models]", count=3
    ),
    Fault(
        "network",
        "    networks: [front, models]",
        "    networks: [front]",
        "sitechat",
        "networks: [m",
        count=3,
    ),
    Fault("budget", "    profiles: [qwen7b]", "    profiles: [qwen7b, chat]", "qwen7b-bnb4", "qwen7b-bnb4:"),
    Fault(
        "budget",
        "    runtime: docker\n",
        "    preload: true\n",
        "qwen7b-bnb4",
        "qwen7b-bnb4:",
        "hotseat.yaml",
    ),
    Fault("gone-flag", "v0.27.1}", "v0.28.0}", "qwen7b-bnb4", "command:"),
    Fault(
        "gone-flag",
        '      - "0.90"\n      - --max-model-len\n      - "8192"',
        "      - '0.9'\n      - --swap-space\n      - '4'",
        "coder3b",
        "command:",
    ),
    Fault("image-tag", "vllm-openai:v0.33.0}", "vllm-openai:latest}", "sitechat", "image:", count=2),
    Fault("image-tag", "hotseat:0.1.0}", "hotseat}", "launcher", "image:"),
    Fault(
        "weights-cache", "HF_HOME: /cache/huggingface", "HF_HOME: /models", "sitechat", "volumes:", count=3
    ),
    Fault(
        "compile-cache",
        "VLLM_CACHE_ROOT: /cache/vllm",
        "VLLM_CACHE_ROOT: /v",
        "sitechat",
        "volumes:",
        count=3,
    ),
    Fault("gate", "    HOTSEAT_GATE: /run/hotseat-gate\n", "", "sitechat", "environment:", count=3),
    Fault("gate", "HOTSEAT_GATE: /run/hotseat-gate", "HOTSEAT_GATE: /g", "sitechat", "environment:", count=3),
    Fault("gate", "    PYTHONPATH: /opt/hotseat-gate\n", "", "sitechat", "environment:", count=3),
    Fault("shared-memory", "  shm_size: 2gb\n", "", "sitechat", "sitechat:", count=3),
    Fault(
        "gpu",
        "            capabilities: [gpu]",
        "            capabilities: [tpu]",
        "sitechat",
        "sitechat:",
        count=3,
    ),
    Fault("restart", '  restart: "no"\n', "  restart: always\n", "sitechat", "restart:", count=3),
    Fault("restart", '  restart: "no"\n', '  restart: "on-failure:3"\n', "sitechat", "restart:", count=3),
    Fault(
        "secret",
        SITECHAT,
        f"{SITECHAT}    environment: {{API_TOKEN: abcdef0123}}\n",
        "sitechat",
        "environment:",
    ),
    Fault("secret", SITECHAT, f"{SITECHAT}    environment: [MY_KEY=abc]\n", "sitechat", "environment:"),
    Fault(
        "secret",
        '      - "4"\n',
        '      - "4"\n      - --api-key=verysecret\n',
        "sitechat",
        "command:",
    ),
    Fault("secret", SITECHAT, f"{SITECHAT}    labels: {{note: hf_{'a' * 30}}}\n", "sitechat", "labels:"),
    Fault(
        "unknown-container", "container: sitechat", "container: webchat", None, "services:", "hotseat.yaml"
    ),
    Fault("unrouted", "container: sitechat", "container: webchat", "sitechat", "sitechat:", "hotseat.yaml"),
    Fault("compose-of-model", "profiles: [chat]", "profiles: [web]", "sitechat", "profiles:", "hotseat.yaml"),
    Fault(
        "compose-of-model",
        "profiles: [chat]",
        "service: coder3b",
        "sitechat",
        "sitechat:",
        "hotseat.yaml",
    ),
]
DEV_MODE = Fault(
    "dev-mode",
    SITECHAT,
    f"{SITECHAT}    ports: ['127.0.0.1:8001:8000']\n    environment: {{VLLM_SERVER_DEV_MODE: 1}}\n",
    "sitechat",
    "environment:",
)
HOST_NETWORK = Fault(
    "published-port",
    SITECHAT,
    f"{SITECHAT}    network_mode: host\n    networks: !reset []\n",
    "sitechat",
    "network_mode:",
)


def plant(folder: Path, fault: Fault) -> None:
    path = folder / fault.file
    text = path.read_text(encoding="utf-8")
    assert fault.old in text, "our file has changed: plant the fault anew"
    path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")


ONE_OF_EACH = {fault.rule: fault for fault in [*FAULTS, DEV_MODE]}


@pytest.mark.parametrize("fault", [*FAULTS, DEV_MODE], ids=lambda fault: fault.rule)
def test_a_planted_fault_is_found_where_it_is(
    fault: Fault, stack_folder: Path, without_compose: dict[str, str]
) -> None:
    check(fault, stack_folder, without_compose)


@pytest.mark.parametrize("fault", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_the_same_is_found_where_compose_reads_the_files(
    fault: Fault, stack_folder: Path, with_compose: dict[str, str]
) -> None:
    check(fault, stack_folder, with_compose)


def check(fault: Fault, folder: Path, env: dict[str, str]) -> None:
    plant(folder, fault)
    found = [one for one in findings(folder, env) if one.rule == fault.rule]
    assert len(found) == fault.count, found
    mine = next(one for one in found if one.service == fault.service)
    assert mine.line is not None
    line = Path(mine.file).read_text(encoding="utf-8").splitlines()[mine.line - 1]
    assert fault.line in line
    assert mine.fix
    assert "verysecret" not in mine.message


def test_every_rule_has_a_planted_fault() -> None:
    assert set(ONE_OF_EACH) == {rule.name for rule in RULES}


def test_the_hosts_network_is_a_published_port(stack_folder: Path, without_compose: dict[str, str]) -> None:
    plant(stack_folder, HOST_NETWORK)
    assert "published-port" in {one.rule for one in findings(stack_folder, without_compose)}


def test_two_containers_of_one_name_are_found(stack_folder: Path, without_compose: dict[str, str]) -> None:
    # Compose refuses such a file itself.
    plant(stack_folder, Fault("", SITECHAT, "    container_name: coder3b\n", None, ""))
    found = [one for one in findings(stack_folder, without_compose) if one.rule == "container-name"]
    assert [one.service for one in found] == ["sitechat"]
    assert "coder3b" in found[0].message


def test_our_stack_has_no_finding(stack_folder: Path, reader_env: dict[str, str]) -> None:
    assert findings(stack_folder, reader_env) == []


def test_our_stack_behind_the_socket_proxy_has_no_finding(
    stack_folder: Path, reader_env: dict[str, str]
) -> None:
    assert findings(stack_folder, reader_env, "docker-compose.public.yml") == []


def test_our_stack_with_downloads_has_no_finding(stack_folder: Path, reader_env: dict[str, str]) -> None:
    assert findings(stack_folder, reader_env, "docker-compose.seed.yml") == []


def test_a_stack_without_a_configuration_is_checked_for_itself(
    stack_folder: Path, reader_env: dict[str, str]
) -> None:
    (stack_folder / "hotseat.yaml").unlink()
    assert findings(stack_folder, reader_env) == []


def test_the_reference_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "lint.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m hotseat.commands.reference"
