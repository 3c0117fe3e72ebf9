"""Every command block of the pages is run by bash where its reader stands, or is listed with the reason."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.compose_binary import compose_binary
from fakes.hotseat import Hotseat
from fakes.shims import Shims

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
CLEAN = ("HOTSEAT_", "VLLM_", "ADMIN_", "LISTEN", "LAUNCHER_", "COMPOSE_", "UPSTREAM_", "HF_", "CACHE_")
URLS = ("http://gpu-box:8000", "https://chat.lan:8443", "https://chat.example.com")
"""Launchers elsewhere, in whose place the one of the test answers."""

NOT_RUN = {
    "pip install": "needs a package index; tests/repo/test_pins.py installs",
    "docker build": "needs base images; CI builds the image",
    "hotseat seed": "downloads; test_docs.py runs these lines with a hub of its own",
    "hotseat serve": "does not end; tests/commands/test_listen_process.py and test_serve_process.py run it",
    "hotseat bench": "measures for minutes; tests/commands/test_bench.py runs it",
    "hotseat top": "needs a terminal; tests/commands/test_top.py runs it",
    "docker compose": "needs an Engine with a GPU; tests/stack/test_stack_end_to_end.py runs the stack",
    "curl -N": "needs the stack; tests/stack/test_stack_end_to_end.py sends it",
    "kubectl": "needs a cluster; tests/runtimes/kubernetes runs against an API server of its own",
    "helm": "needs a cluster",
    "kind ": "needs a cluster",
}
"""Lines that are not run here, by what they hold, with the reason. bash checks their syntax all the same."""


@dataclass(frozen=True)
class Block:
    page: Path
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.stem}-{self.number}"

    @property
    def lines(self) -> list[str]:
        return [one for one in self.text.replace("\\\n", " ").splitlines() if one.strip()]

    def reason(self) -> str | None:
        """Why nothing of it is run; ``None``: it is run."""
        for line in self.lines:
            for mark, reason in NOT_RUN.items():
                if mark in line:
                    return reason
        return None


BLOCKS = [
    Block(page, number, text)
    for page in PAGES
    for number, text in enumerate(re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL), 1)
]
RUN = [block for block in BLOCKS if block.reason() is None]


def test_most_pages_have_a_block_that_is_run() -> None:
    assert len(RUN) >= 10, [str(one) for one in RUN]


@pytest.mark.parametrize("mark", NOT_RUN)
def test_every_exception_is_still_needed(mark: str) -> None:
    if not any(mark in line for block in BLOCKS for line in block.lines):
        assert mark in ("kubectl", "helm", "kind "), f"no page has {mark} any more"


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_bash_takes_the_block(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[tuple[Hotseat, dict[str, str]]]:
    """A reader in the folder of a launcher with the models of the pages; Compose and systemd are at hand."""
    folder = tmp_path / "srv" / "llm" / "compose"
    shutil.copytree(ROOT / "deploy" / "compose", folder)
    home = tmp_path / "home"
    (home / ".continue").mkdir(parents=True)
    tools = Shims(tmp_path / "tools")
    tools.add("docker", {"compose version": (0, "2.40.3")}, ("config", compose_binary(), 1))
    tools.add("systemctl", {"status": (0, "active\n"), "": (0, "")})
    (tools.folder / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (tools.folder / "sudo").chmod(0o755)
    (tools.folder / "hotseat").write_text(f'#!/bin/sh\nexec {sys.executable} -m hotseat "$@"\n')
    (tools.folder / "hotseat").chmod(0o755)
    shown = folder / "hotseat.yaml"
    shutil.move(shown, folder / "hotseat.stack.yaml")
    (folder / ".env").write_text("VLLM_API_KEY=sk-client-123456\nADMIN_API_KEY=sk-admin-1234567\n")
    models: dict[str, list[str] | dict[str, object]] = {"chat": [], "coder": [], "small": []}
    hotseat = Hotseat(folder, models, default_model="chat").start()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(CLEAN)}
    env = clean | {
        "PATH": f"{tools.folder}:/usr/bin:/bin",
        "HOME": str(home),
        "USER": "me",
        "LISTEN": f"127.0.0.1:{hotseat.port}",
        "XDG_CONFIG_HOME": str(home / ".config"),
        "SYSTEMD_UNIT_PATH": str(tmp_path / "units"),
    }
    (tmp_path / "units").mkdir()
    yield hotseat, env
    hotseat.stop()


@pytest.mark.parametrize("block", RUN, ids=str)
def test_the_block_works_where_its_reader_stands(
    block: Block, reader: tuple[Hotseat, dict[str, str]]
) -> None:
    hotseat, env = reader
    text = block.text.replace("/srv/llm", str(hotseat.folder.parent))
    for url in URLS:
        text = text.replace(url, f"http://127.0.0.1:{hotseat.port}")
    (hotseat.folder / "access.headers").write_text("CF-Access-Client-Id: me\n")
    if "--stack" in text or "hotseat lint" in text:  # about the stack as it is shipped
        (hotseat.folder / "hotseat.yaml").write_text((hotseat.folder / "hotseat.stack.yaml").read_text())
    if "clients claude-code" in text:  # its configuration names the variable
        env["VLLM_API_KEY"] = "sk-client-123456"
    folder = hotseat.folder
    if "init --plain" in text:
        folder = hotseat.folder.parent / "plain"
        folder.mkdir()
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=text,
        text=True,
        capture_output=True,
        cwd=folder,
        env=env,
        check=False,
        timeout=120,
    )
    expected = (
        {0, 1} if "hotseat doctor" in text else {0}
    )  # what doctor finds here is this machine's business
    assert done.returncode in expected, (text, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr


def test_the_folders_that_the_pages_name_are_copied_by_the_tutorial(tmp_path: Path) -> None:
    copied = re.search(r"^cp -r (.*) /srv/llm/$", (DOCS / "tutorial.md").read_text(), re.MULTILINE)
    assert copied is not None
    for source in copied[1].split():
        shutil.copytree(ROOT / source, tmp_path / Path(source).name)
    stack = tmp_path / "compose"
    named = {
        file
        for page in PAGES
        for file in re.findall(r"-f (\S+\.yml)", page.read_text())
        if not file.startswith(("deploy/", "/"))
    }
    assert "../monitoring/docker-compose.monitoring.yml" in named
    for file in named:
        assert (stack / file).is_file(), file


def test_make_up_chat_works_in_the_copied_stack(tmp_path: Path) -> None:
    stack = Path(shutil.copytree(ROOT / "deploy" / "compose", tmp_path / "compose"))
    shown = subprocess.run(
        ["make", "-n", "up-chat"], capture_output=True, text=True, cwd=stack, check=False, timeout=60
    )
    assert shown.returncode == 0, shown.stderr
    assert "./switch.sh chat" in shown.stdout
    assert (stack / "switch.sh").is_file()
    listed = subprocess.run(["make"], capture_output=True, text=True, cwd=stack, check=True, timeout=60)
    assert "up-chat" in listed.stdout


@pytest.mark.parametrize(("service", "share"), [("sitechat", 0.50), ("coder3b", 0.90)])
def test_the_tutorials_models_fit_the_card_that_it_names(service: str, share: float) -> None:
    from hotseat.stack.compose.reading import read_project
    from hotseat.stack.doctor.memory_fit import fit
    from hotseat.stack.doctor.model_memory import GIB, architecture

    page = (DOCS / "tutorial.md").read_text()
    assert "a card with 24 GB" in page
    assert "SITECHAT_GPU_UTIL=0.50" in page
    project = read_project(
        [ROOT / "deploy/compose/docker-compose.yml"], {"SITECHAT_GPU_UTIL": "0.50", "PATH": ""}
    )
    one = project.project.services[service]
    assert one.option("--gpu-memory-utilization") == f"{share:.2f}"
    known = architecture(one.model() or "", None)
    assert known is not None
    estimate = fit(one, known, 24 * GIB)
    assert estimate is not None
    assert estimate.starts, estimate.summary()
