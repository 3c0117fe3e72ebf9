"""Commands and configurations of the documentation work; those without Docker or GPU are run."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from fakes.hub import serving
from hotseat import config
from hotseat.cli import main
from hotseat.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [DOCS / "README.md", DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
SOURCE = ROOT / "src" / "hotseat"
STACK = ROOT / "deploy" / "compose"
KEYS = {"VLLM_API_KEY": "sk-" + "1" * 40, "SITE_KEY": "sk-" + "2" * 40}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def lines(page: Path) -> Iterator[str]:
    for block in blocks(page, "bash"):
        yield from block.replace("\\\n", " ").splitlines()


WHERE = '"$(command -v hotseat)"'
BLOCKS = [(page.name, block) for page in PAGES for block in blocks(page, "yaml")]
COMMAND_LINES = sorted(
    {
        found
        for page in PAGES
        for line in lines(page)
        for found in re.findall(r"(?:^|sudo |\$\()(hotseat [^>)]*)", line.replace(WHERE, "hotseat"))
    }
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).is_file(), target


def test_every_page_is_in_the_index() -> None:
    linked = {(DOCS / target).resolve() for target in re.findall(r"\]\(([^)]+)\)", PAGES[0].read_text())}
    pages = {path for path in DOCS.rglob("*.md") if path.name != "README.md"}
    assert pages <= linked


def test_the_design_names_files_that_exist() -> None:
    page = (DOCS / "design.md").read_text()
    named = {word for word in re.findall(r"`([\w./-]+)`", page) if "/" in word or word.endswith(".py")}
    missing = [
        word
        for word in sorted(named)
        if not word.startswith("/") and not any((base / word).exists() for base in (ROOT, SOURCE))
    ]
    assert missing == [], missing


def test_the_layout_names_every_package_and_module() -> None:
    page = (DOCS / "design.md").read_text()
    found = re.search(r"^src/hotseat/\n(.*?)```", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    named = set(re.findall(r"[\w.]+", found[1]))
    skipped = {"__init__.py", "__pycache__", "py.typed"}
    names = {path.name for folder in (SOURCE, SOURCE / "gateway") for path in folder.iterdir()} - skipped
    assert names <= named, names - named


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_configurations_are_right(page: str, block: str, tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    for name in ("chat.pem", "chat.key"):
        (tmp_path / "tls" / name).write_text("")
    shutil.copy(STACK / "docker-compose.yml", tmp_path)
    settings = config.loads(block, str(tmp_path / "hotseat.yaml"), KEYS)
    assert settings.models


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shell_lines_are_sound(page: Path) -> None:
    for block in blocks(page, "bash"):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_commands_and_their_options_exist(line: str, tmp_path: Path) -> None:
    _, name, *words = shlex.split(line)
    assert name in COMMANDS
    command = importlib.import_module(f"hotseat.commands.{name.replace('-', '_')}").command
    assert isinstance(command, click.Command)
    words = [
        str(tmp_path) if word.startswith("/srv") or word == "k8s" else word
        for word in words
        if word != "--help"
    ]
    # As in the whole program: click caches the first help option that it creates.
    command.make_context(name, words, help_option_names=["-h", "--help"])  # raises a UsageError


def test_compose_lines_name_files_that_are_there() -> None:
    named = [
        word
        for page in PAGES
        for line in lines(page)
        if line.startswith("docker compose")
        for flag, word in zip(line.split(), line.split()[1:], strict=False)
        if flag == "-f"
    ]
    assert named
    for file in named:
        assert (STACK / file).is_file(), file


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Copy of the stack's folder, as the tutorial makes it."""
    return Path(shutil.copytree(STACK, tmp_path / "compose"))


def typed(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **env: str) -> Result:
    """Run a command line of the pages in a folder."""
    assert line in {one for page in PAGES for one in lines(page)}, f"no page says: {line}"
    monkeypatch.chdir(folder)
    others = {name: None for name in os.environ if name.startswith(("HF_", "HOTSEAT_", "VLLM_", "CACHE_"))}
    return CliRunner(env=others | env).invoke(main, shlex.split(line)[1:], prog_name="hotseat")


def test_the_tutorial_up_to_docker(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed("hotseat init", stack, monkeypatch).exit_code == 0
    assert (stack / ".env").stat().st_mode & 0o777 == 0o600
    linted = typed("hotseat lint", stack, monkeypatch)
    assert linted.exit_code == 0, linted.output
    doctor = typed("hotseat doctor", stack, monkeypatch)
    assert "config: hotseat.yaml: chat, coder, qwen7b" in doctor.output
    files = {"config.json": b"{}", "model.safetensors": b"x" * 1000}
    names = [
        "microsoft/Phi-3.5-mini-instruct",
        "Qwen/Qwen2.5-Coder-3B-Instruct",
        "Qwen/Qwen2.5-7B-Instruct",
    ]
    with serving(dict.fromkeys(names, files)) as hub:
        cache = {"HF_ENDPOINT": hub.url, "CACHE_DIR": str(stack / "cache")}
        told = typed("hotseat seed -c hotseat.yaml --dry-run", stack, monkeypatch, **cache)
        assert (told.exit_code, told.stderr) == (0, "")
        assert not list((stack / "cache").rglob("*.safetensors"))
        told = typed("hotseat seed -c hotseat.yaml", stack, monkeypatch, **cache)
        assert (told.exit_code, told.stderr) == (0, "")
    folders = {one.name for one in (stack / "cache/huggingface/hub").glob("models--*")}
    assert folders == {"models--" + name.replace("/", "--") for name in names}


def test_programs_are_configured_from_the_file_alone(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "hotseat clients continue -c hotseat.yaml --url http://gpu-box:8000"
    printed = typed(line, stack, monkeypatch)
    assert printed.exit_code == 0
    assert "apiBase: http://gpu-box:8000/v1" in printed.stdout
