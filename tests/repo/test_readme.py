"""Commands, configuration and links of the README work."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest

from hotseat import config
from hotseat.cli import main

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = [line.strip() for line in README.splitlines() if line.startswith("    ")]


def test_its_configuration_is_right() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        settings = config.loads(block, str(ROOT / "hotseat.yaml"), {})
        assert set(settings.models) == {"chat", "coder"}


def test_its_make_targets_exist() -> None:
    targets = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    assert targets == {"demo", "test"}
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("hotseat ")])
def test_its_subcommands_exist(command: str) -> None:
    assert command.split()[1] in main.list_commands(click.Context(main))


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).is_file(), target


@pytest.mark.system("shellcheck")
def test_scripts_are_sound_shell() -> None:
    scripts = [".ci/run", "scripts/venv.sh", "scripts/constraints.sh"]
    subprocess.run(["shellcheck", *scripts], cwd=ROOT, check=True)
